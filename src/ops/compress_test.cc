#include "ops/compress.h"

#include <cmath>
#include <limits>

#include "ops/op_test_util.h"
#include "tensor/rows.h"

namespace precis {
namespace {

PRECIS_OP_SUITE(Compress);

constexpr float kInf = std::numeric_limits<float>::infinity();

struct CompressCase {
  std::string text;
  int ratio;
  bool overlap;
  CompressedKind kind;
  KvRowFormat kv_format;
  IndexRowFormat index_format;
  int rope_width;

  int width() const {
    return kind == CompressedKind::kKvRow ? kv_format.width() : index_format.width;
  }
  int channels() const { return width() * (overlap ? 2 : 1); }
  int slots() const { return ratio * (overlap ? 2 : 1); }
};

const CompressCase kCases[] = {
    {"mini sparse", 4, true, CompressedKind::kKvRow, {128, 32}, {}, 32},
    {"mini index", 4, true, CompressedKind::kIndexRow, {}, {64}, 32},
    {"mini heavy", 128, false, CompressedKind::kKvRow, {128, 32}, {}, 32},
    {"Flash sparse", 4, true, CompressedKind::kKvRow, {448, 64}, {}, 64},
    {"Flash index", 4, true, CompressedKind::kIndexRow, {}, {128}, 64},
    {"exact heavy", 16, false, CompressedKind::kKvRow, {64, 36, RopeStorage::kF32}, {}, 36},
    {"odd", 3, true, CompressedKind::kKvRow, {96, 10}, {}, 10},
};

struct CompressInput {
  std::vector<float> kv;     // [T, channels]
  std::vector<float> score;  // [T, channels]
  std::vector<float> ape;    // [R, channels]
  std::vector<float> norm;   // [w]
  float eps = 1e-6f;
};

// Scores lead by 200 or trail: each channel takes exactly one token of its block.  All values are
// ±1024, whose root mean square is exact.
CompressInput planted_input(const CompressCase& c, std::int64_t n_tokens) {
  CompressInput in;
  const std::int64_t n = n_tokens * c.channels();
  in.kv = small_ints(n, 1, 1);
  for (float& value : in.kv) value *= 1024;
  // Distinct multiples of 200 within any block and the one before it.
  in.score.resize(n);
  for (std::int64_t i = 0; i < n; ++i) {
    const std::int64_t token = i / c.channels();
    in.score[i] = static_cast<float>((token * 7 + i % c.channels() * 5) % 257) * 200.0f;
  }
  in.ape.assign(c.ratio * c.channels(), 0.0f);
  in.norm = small_ints(c.width(), 2, 7);
  in.eps = 0;
  return in;
}

CompressInput random_input(const CompressCase& c, std::int64_t n_tokens) {
  return {activations(n_tokens * c.channels(), 1), activations(n_tokens * c.channels(), 2, 4),
          uniform(c.ratio * c.channels(), 3, -1, 1), activations(c.width(), 4)};
}

struct CompressResult {
  std::vector<std::uint8_t> rows;
  std::vector<float> state_kv;
  std::vector<float> state_score;

  // The rows, then every byte of the state.
  std::vector<std::uint8_t> bytes() const {
    std::vector<std::uint8_t> out = rows;
    for (const std::vector<float>* state : {&state_kv, &state_score}) {
      const auto* begin = reinterpret_cast<const std::uint8_t*>(state->data());
      out.insert(out.end(), begin, begin + sizeof(float) * state->size());
    }
    return out;
  }
};

CompressResult run(Backend& backend, const CompressCase& c, const CompressInput& in,
                   Rounding rounding, std::int64_t chunk) {
  const std::int64_t n_tokens = std::ssize(in.kv) / c.channels();
  const std::int64_t n_rows = n_tokens / c.ratio;
  const bool is_kv = c.kind == CompressedKind::kKvRow;
  const TestPool pool(n_rows, 3, is_kv ? c.kv_format.data_bytes() : c.index_format.data_bytes(),
                      is_kv ? c.kv_format.scale_bytes() : c.index_format.scale_bytes());
  const TestRope rope = in.eps == 0 ? quarter_turns(n_rows, c.rope_width, 9)
                                    : real_rope(n_rows, c.rope_width, 0, c.ratio);
  const std::int64_t n_state = c.slots() * c.channels();
  CompressResult out{{}, std::vector<float>(n_state), std::vector<float>(n_state, -kInf)};
  for_each_chunk(n_tokens, chunk, [&](std::int64_t begin, std::int64_t count) {
    CompressArgs args;
    args.kv = mat(in.kv, n_tokens, c.channels()).slice_rows(begin, count);
    args.score = mat(in.score, n_tokens, c.channels()).slice_rows(begin, count);
    args.ape = in.ape;
    args.norm = in.norm;
    args.state_kv = mat(out.state_kv, c.slots(), c.channels());
    args.state_score = mat(out.state_score, c.slots(), c.channels());
    args.ratio = c.ratio;
    args.overlap = c.overlap;
    args.first_position = begin;
    args.kind = c.kind;
    args.kv_format = c.kv_format;
    args.index_format = c.index_format;
    args.rope = rope.slice(args.first_row(), args.n_finished());
    args.rows = pool.view();
    args.eps = in.eps;
    args.rounding = rounding;
    backend.compress(args);
  });
  if (n_rows > 0) out.rows = pool.bytes();
  return out;
}

TEST_P(Compress, PlantedWinnersAreExact) {
  for (const CompressCase& c : kCases) {
    for (const int n : {0, 1, c.ratio - 1, c.ratio, c.ratio + 1, 3 * c.ratio + 1, 8 * c.ratio}) {
      const CompressInput in = planted_input(c, n);
      const CompressResult got = run(*backend_, c, in, Rounding::kBf16, std::max(1, n));
      const CompressResult want = run(*ref_, c, in, Rounding::kBf16, std::max(1, n));
      expect_same_bits(got.rows, want.rows, c.text + ", rows");
      expect_same_bits(got.state_kv, want.state_kv, c.text + ", kv state");
      expect_same_bits(got.state_score, want.state_score, c.text + ", score state");
    }
  }
}

TEST_P(Compress, RandomRowsHaveTheSameCodes) {
  for (const CompressCase& c : kCases) {
    const CompressInput in = random_input(c, 6 * c.ratio + 1);
    const bool is_exact = c.kv_format.rope_storage == RopeStorage::kF32;
    const Rounding rounding = is_exact ? Rounding::kNone : Rounding::kBf16;
    const CompressResult got = run(*backend_, c, in, rounding, 6 * c.ratio + 1);
    const CompressResult want = run(*ref_, c, in, rounding, 6 * c.ratio + 1);
    // The exact format keeps most of its bytes in f32 channels, which differ in their last bits.
    expect_few_differ(got.rows, want.rows, is_exact ? 0.35 : 0.005, c.text);
    expect_same_bits(got.state_score, want.state_score, c.text + ", score state");
  }
}

TEST_P(Compress, RowsAndStateDoNotDependOnTheCut) {
  for (const CompressCase& c : kCases) {
    const std::int64_t n_tokens = 2 * c.ratio + 5;
    const CompressInput in = random_input(c, n_tokens);
    SCOPED_TRACE(c.text);
    expect_invariant(GetParam(), n_tokens, [&](Backend& backend, std::int64_t chunk) {
      return run(backend, c, in, Rounding::kBf16, chunk).bytes();
    });
  }
}

// Equal scores pool to plain means, which are computed here without the operation.
TEST_P(Compress, RowsPoolTheLowHalfBeforeAndTheHighHalfOfTheirBlock) {
  const CompressCase& c = kCases[0];
  constexpr std::int64_t kTokens = 12;
  CompressInput in{small_ints(kTokens * c.channels(), 1), {}, {}, {}};
  in.score.assign(in.kv.size(), 0.5f);
  in.ape.assign(c.ratio * c.channels(), 0.0f);
  in.norm.assign(c.width(), 1.0f);
  in.eps = 0;  // quarter turns
  const TestRope rope = quarter_turns(kTokens / c.ratio, c.rope_width, 9);
  const CompressResult got = run(*backend_, c, in, Rounding::kNone, kTokens);
  const TestPool rows(kTokens / c.ratio, 3, c.kv_format);
  for (std::int64_t i = 0; i < kTokens / c.ratio; ++i) {
    std::vector<float> pooled(c.width());
    for (int channel = 0; channel < c.width(); ++channel) {
      double sum = 0;
      for (int r = 0; r < c.ratio; ++r) {
        if (i > 0) sum += in.kv[((i - 1) * c.ratio + r) * c.channels() + channel];
        sum += in.kv[(i * c.ratio + r) * c.channels() + c.width() + channel];
      }
      pooled[channel] = static_cast<float>(sum / (i > 0 ? 2 * c.ratio : c.ratio));
    }
    double squares = 0;
    for (const float value : pooled) squares += value * value;
    const double scale = 1 / std::sqrt(squares / c.width());
    for (float& value : pooled) value = static_cast<float>(value * scale);
    float* tail = pooled.data() + c.width() - c.rope_width;
    for (int j = 0; j < c.rope_width / 2; ++j) {
      const float cos = rope.table().cos(i)[j];
      const float sin = rope.table().sin(i)[j];
      const float even = tail[2 * j];
      const float odd = tail[2 * j + 1];
      tail[2 * j] = even * cos - odd * sin;
      tail[2 * j + 1] = even * sin + odd * cos;
    }
    write_kv_row(rows.view(), i, c.kv_format, pooled);
  }
  expect_few_differ(got.rows, rows.bytes(), 0.005, "means");
}

TEST_P(Compress, ThePositionalTermIsAddedToTheGateByAbsolutePosition) {
  const CompressCase& c = kCases[2];
  CompressInput in = random_input(c, 130);
  const CompressResult got = run(*backend_, c, in, Rounding::kNone, 50);
  // Token 129 is the second of block 1: slot 1, ape row 1, values untouched.
  for (int channel = 0; channel < c.channels(); ++channel) {
    const std::int64_t at = 129 * c.channels() + channel;
    ASSERT_EQ(got.state_score[c.channels() + channel],
              in.score[at] + in.ape[c.channels() + channel]);
    ASSERT_EQ(got.state_kv[c.channels() + channel], in.kv[at]);
  }
}

TEST_P(Compress, ZeroValuesGiveZeroRowsAndNotANumberMarksItsRow) {
  const CompressCase& c = kCases[2];
  CompressInput in = random_input(c, 2 * c.ratio);
  std::fill(in.kv.begin(), in.kv.begin() + c.ratio * c.channels(), 0.0f);
  in.kv[(c.ratio + 3) * c.channels()] = std::numeric_limits<float>::quiet_NaN();
  const CompressResult got = run(*backend_, c, in, Rounding::kBf16, 2 * c.ratio);
  const int scales = c.kv_format.data_bytes();
  EXPECT_EQ(got.rows[0], 0);
  EXPECT_EQ(got.rows[scales], 105);
  EXPECT_EQ(got.rows[c.kv_format.row_bytes() + scales], 255);
}

}  // namespace
}  // namespace precis
