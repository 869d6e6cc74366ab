// Attention on tensor cores: shapes of released models, which the tests of the operation are too small
// to reach.
#include <algorithm>
#include <memory>

#include <gtest/gtest.h>

#include "backend/registry.h"
#include "ops/op_test_util.h"
#include "tensor/rows.h"

namespace precis {
namespace {

const KvRowFormat kFormat{448, 64};
constexpr int kWindow = 128;

struct Case {
  std::string name;
  int n_heads;
  std::int64_t step_begin;
  std::int64_t n_tokens;
  std::int64_t n_rows;    // of the compressed pool
  std::int64_t n_listed;  // 0: the leading rows, as many as there are
  float spread;           // of the queries
  std::int64_t n_many;    // tokens of a step with more work than the GPU takes at once
  bool sink = true;
  float row_spread = 1;
};

const Case kCases[] = {
    {"sparse", 64, 300, 3, 2000, 512, 2, 70},
    {"leading", 64, 300, 3, 700, 0, 2, 70},
    {"several parts", 64, 300, 2, 2990, 0, 2, 180},
    {"two blocks of heads", 128, 300, 2, 300, 100, 2, 260},
    {"window only, from the start", 64, 0, 5, 0, 0, 2, 70, false},
    {"few rows weigh", 64, 1000, 3, 600, 200, 8, 70},
    {"rows of large numbers", 64, 300, 2, 300, 100, 0x1p-19f, 70, true, 0x1p20f},
    {"scores beyond any exponent", 64, 1000, 2, 600, 200, 2000, 70},
};

enum class Calls { kInTurn, kTogether };

// Tokens in calls of `chunk`, each of which has a window of its own.
std::vector<float> run(const std::string& name, const Case& c, std::int64_t chunk,
                       bool count = true, Calls calls = Calls::kInTurn) {
  const TestBackend backend({name, ""});
  const int width = kFormat.width();
  const TestPool compressed(std::max<std::int64_t>(c.n_rows, 1), 64, kFormat);
  const std::vector<float> rows = activations(c.n_rows * width, 2, c.row_spread);
  for (std::int64_t r = 0; r < c.n_rows; ++r) {
    write_kv_row(compressed.view(), r, kFormat, mat(rows, c.n_rows, width).row_span(r));
  }
  const std::int64_t n_positions = c.step_begin + c.n_tokens;
  const std::vector<float> kv = activations(n_positions * width, 3, c.row_spread);
  const std::vector<float> q = activations(c.n_tokens * c.n_heads * width, 1, c.spread);
  const TestRope rope = real_rope(c.n_tokens, kFormat.rope, c.step_begin);
  const std::vector<float> sink = uniform(c.sink ? c.n_heads : 0, 6, -1, 1);
  std::vector<std::int32_t> listed;
  std::vector<std::int32_t> n_first;
  std::int64_t n_listed = c.n_listed;
  if (n_listed > 0) {
    listed = random_ints(c.n_tokens * n_listed, 5, static_cast<int>(c.n_rows + 20));
    for (std::int32_t& row : listed) row = row < c.n_rows ? row : -1;
  } else if (count) {
    n_first.assign(c.n_tokens, static_cast<std::int32_t>(c.n_rows));
  } else {
    n_listed = c.n_rows;
    for (std::int64_t i = 0; i < c.n_tokens * n_listed; ++i) {
      listed.push_back(static_cast<std::int32_t>(i % n_listed));
    }
  }
  std::vector<float> out(q.size(), -7.0f);
  std::vector<std::unique_ptr<TestPool>> rings;
  std::vector<AttendArgs> all;
  for_each_chunk(c.n_tokens, chunk, [&](std::int64_t begin, std::int64_t n) {
    rings.push_back(std::make_unique<TestPool>(kWindow + n, kWindow, kFormat));
    const TestPool& ring = *rings.back();
    const std::int64_t first = c.step_begin + begin;
    AttendArgs args;
    args.window = {ring.view(), kWindow, first};
    for (std::int64_t p = std::max<std::int64_t>(0, first - kWindow); p < first + n; ++p) {
      write_kv_row(ring.view(), args.window.slot(p), kFormat,
                   mat(kv, n_positions, width).row_span(p));
    }
    args.q = Cube<const float>(q.data(), c.n_tokens, c.n_heads, width).slice(begin, n);
    args.format = kFormat;
    args.compressed = compressed.view();
    if (!n_first.empty()) args.selection.n_first = std::span(n_first).subspan(begin, n);
    if (n_listed > 0) {
      args.selection.listed = mat(listed, c.n_tokens, n_listed).slice_rows(begin, n);
    }
    args.sink = sink;
    args.scale = 0.044f;
    args.rope = rope.slice(begin, n);
    args.out = Cube<float>(out.data(), c.n_tokens, c.n_heads, width).slice(begin, n);
    args.rounding = Rounding::kBf16;
    all.push_back(args);
  });
  if (calls == Calls::kTogether) {
    backend->attend_all(all);
  } else {
    for (const AttendArgs& args : all) backend->attend(args);
  }
  return out;
}

class AttendOnGpu : public GpuTest {};

// Both round weights to bf16, against different powers of two, and results: each of the two pairs leaves
// at most 2^-8.
TEST_F(AttendOnGpu, HeadsAreWithinTheRoundingOfTheirWeights) {
  for (const Case& c : kCases) {
    const std::vector<float> got = run("cuda", c, c.n_tokens);
    const std::vector<float> want = run("ref", c, c.n_tokens);
    const std::int64_t width = kFormat.width();
    for (std::int64_t at = 0; at < std::ssize(got); at += width) {
      expect_norm_within(std::span(got).subspan(at, width), std::span(want).subspan(at, width),
                         0x1p-7, c.name + ", head " + std::to_string(at / width));
      if (HasFailure()) break;
    }
  }
}

TEST_F(AttendOnGpu, BitsDependOnTheTokenAlone) {
  for (Case c : kCases) {
    // Lists are whole; those of 60, 30 or 7 tokens are cut into pairs of parts, parts or blocks.
    c.n_tokens = c.n_many;
    const std::vector<float> want = run("cuda", c, c.n_tokens);
    for (const std::int64_t chunk : {1, 7, 30, 60}) {
      expect_same_bits(run("cuda", c, chunk), want,
                       c.name + ", tokens a call: " + std::to_string(chunk));
    }
  }
}

TEST_F(AttendOnGpu, CallsTogetherGiveTheBitsOfEach) {
  for (Case c : kCases) {
    c.n_tokens = 45;
    const std::vector<float> want = run("cuda", c, 1);
    for (const std::int64_t chunk : {1, 2}) {
      expect_same_bits(run("cuda", c, chunk, true, Calls::kTogether), want,
                       c.name + ", tokens a call: " + std::to_string(chunk));
    }
  }
}

TEST_F(AttendOnGpu, LeadingRowsCountedOrListedAreTheSame) {
  expect_same_bits(run("cuda", kCases[1], 3), run("cuda", kCases[1], 3, false), "leading");
}

}  // namespace
}  // namespace precis
