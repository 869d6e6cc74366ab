#include "bench/op_data.h"

#include <algorithm>
#include <cstring>

#include "base/rng.h"
#include "bench/shapes.h"

namespace precis::bench {
namespace {

constexpr std::uint8_t kUnitScale = 127;         // e8m0 byte of 2^0
constexpr std::uint8_t kSmallWeightScale = 120;  // 2^-7 keeps sums of products near unit size

// What random bits are turned into, 64 bits at a time.
struct Pattern {
  std::uint64_t keep;
  std::uint64_t set;
};
constexpr Pattern kAnyCode{~0ULL, 0};
// An e4m3 code without its top exponent bit is a finite number below 2.
constexpr Pattern kE4m3Below2{0xBFBF'BFBF'BFBF'BFBFULL, 0};
// Any sign and mantissa, with the exponent of 0.5 … 1.
constexpr Pattern kBf16NearOne{0x807F'807F'807F'807FULL, 0x3F00'3F00'3F00'3F00ULL};
constexpr Pattern kF32NearOne{0x807F'FFFF'807F'FFFFULL, 0x3F00'0000'3F00'0000ULL};

void fill(std::span<std::byte> out, const Pattern& pattern, std::uint64_t seed) {
  for (std::size_t i = 0; i < out.size(); i += 8) {
    const std::uint64_t word = (random_bits(seed, i) & pattern.keep) | pattern.set;
    std::memcpy(&out[i], &word, std::min<std::size_t>(8, out.size() - i));
  }
}

Pattern pattern_of(WeightFormat format) {
  switch (format) {
    case WeightFormat::kF32: return kF32NearOne;
    case WeightFormat::kBf16: return kBf16NearOne;
    case WeightFormat::kFp8Block: return kE4m3Below2;
    case WeightFormat::kFp4Group: return kAnyCode;
  }
  return kAnyCode;
}

}  // namespace

std::span<std::byte> OpData::bytes(std::int64_t n_bytes) {
  buffers_.push_back(backend_.allocate(static_cast<std::size_t>(n_bytes)));
  return {buffers_.back().data(), static_cast<std::size_t>(n_bytes)};
}

const Weight* OpData::weight(WeightFormat format, std::int64_t n_out, std::int64_t n_in) {
  WeightSource source{.format = format, .n_out = n_out, .n_in = n_in};
  if (format == WeightFormat::kFp8Block) source.block_out = source.block_in = 128;
  if (format == WeightFormat::kFp4Group) source.block_in = 32;
  std::vector<std::byte> codes(source.code_bytes());
  fill(codes, pattern_of(format), next_seed_++);
  source.codes = codes.data();
  const std::int64_t n_scales = ((n_out + source.block_out - 1) / source.block_out) *
                                ((n_in + source.block_in - 1) / source.block_in);
  const bool scaled = source.block_in > 1;
  const std::vector<std::uint8_t> scales(scaled ? static_cast<std::size_t>(n_scales) : 0,
                                         kSmallWeightScale);
  source.scales = scaled ? scales.data() : nullptr;
  weights_.push_back(backend_.load_weight(source));
  return weights_.back().get();
}

Mat<float> OpData::mat(std::int64_t rows, std::int64_t cols) {
  const std::span<std::byte> data = bytes(4 * rows * cols);
  // Activations are bf16 numbers held in f32 words.
  fill(data, {0x807F'0000'807F'0000ULL, kF32NearOne.set}, next_seed_++);
  return {reinterpret_cast<float*>(data.data()), rows, cols};
}

Cube<float> OpData::cube(std::int64_t n, std::int64_t planes, std::int64_t cols) {
  return {mat(n * planes, cols).data, n, planes, cols};
}

std::span<const float> OpData::vector(std::int64_t n) {
  return mat(1, n).row_span(0);
}

std::span<std::int32_t> OpData::integers(std::int64_t n, std::int32_t value) {
  auto* data = reinterpret_cast<std::int32_t*>(bytes(4 * n).data());
  std::fill_n(data, n, value);
  return {data, static_cast<std::size_t>(n)};
}

Mat<std::int32_t> OpData::choices(std::int64_t n, std::int64_t count, std::int64_t below) {
  const std::span<std::int32_t> out = integers(n * count, -1);
  const Mat<std::int32_t> rows(out.data(), n, count);
  for (std::int64_t r = 0; r < n; ++r) {
    // Floyd's sample: `count` different numbers, each subset equally likely.
    std::vector<std::int32_t> chosen;
    for (std::int64_t top = below - std::min(count, below); top < below; ++top) {
      const auto draw = static_cast<std::int32_t>(
          random_unit(next_seed_, static_cast<std::uint64_t>(r * below + top)) *
          static_cast<double>(top + 1));
      const bool taken = std::ranges::find(chosen, draw) != chosen.end();
      chosen.push_back(taken ? static_cast<std::int32_t>(top) : draw);
    }
    std::ranges::sort(chosen);
    std::ranges::copy(chosen, rows.row(r));
  }
  ++next_seed_;
  return rows;
}

RopeTable OpData::rope(std::int64_t n, int width, std::int64_t first_position,
                       std::int64_t stride) {
  const std::vector<float> frequencies = rope_frequencies(width, 10000, {});
  const Mat<float> table = mat(n, width);
  fill_rope_table(frequencies, first_position, stride, table);
  return {table, first_position, stride};
}

RowPool OpData::pool(std::int64_t n_rows, int rows_per_page, int data_bytes, int scale_bytes) {
  const std::int64_t n_pages = (n_rows + rows_per_page - 1) / rows_per_page;
  const std::int64_t page_bytes = std::int64_t{rows_per_page} * (data_bytes + scale_bytes);
  const std::span<std::byte> memory = bytes(n_pages * page_bytes);
  std::vector<std::byte*>& pages = page_tables_.emplace_back();
  for (std::int64_t i = 0; i < n_pages; ++i) pages.push_back(memory.data() + i * page_bytes);
  RowPool rows{pages.data(), rows_per_page, data_bytes, scale_bytes};
  for (std::int64_t r = 0; r < n_pages * rows_per_page; ++r) {
    std::memset(rows.scales(r), kUnitScale, static_cast<std::size_t>(scale_bytes));
  }
  return rows;
}

RowPool OpData::kv_rows(std::int64_t n_rows, int rows_per_page, const KvRowFormat& format) {
  const RowPool rows = pool(n_rows, rows_per_page, format.data_bytes(), format.scale_bytes());
  const auto n_codes = static_cast<std::size_t>(format.nope);
  const std::size_t n_rope_bytes = static_cast<std::size_t>(format.data_bytes()) - n_codes;
  const std::uint64_t seed = next_seed_++;
  for (std::int64_t r = 0; r < n_rows; ++r) {
    const std::uint64_t row_seed = random_bits(seed, static_cast<std::uint64_t>(r));
    fill({rows.data(r), n_codes}, kE4m3Below2, row_seed);
    fill({rows.data(r) + n_codes, n_rope_bytes}, kBf16NearOne, row_seed + 1);
  }
  return rows;
}

RowPool OpData::index_rows(std::int64_t n_rows, int rows_per_page, const IndexRowFormat& format) {
  const RowPool rows = pool(n_rows, rows_per_page, format.data_bytes(), format.scale_bytes());
  const std::uint64_t seed = next_seed_++;
  for (std::int64_t r = 0; r < n_rows; ++r) {
    fill({rows.data(r), static_cast<std::size_t>(format.data_bytes())}, kAnyCode,
         random_bits(seed, static_cast<std::uint64_t>(r)));
  }
  return rows;
}

WindowRows OpData::window(std::int64_t step_begin, std::int64_t n_tokens,
                          const KvRowFormat& format) {
  return {kv_rows(kWindow + n_tokens, kWindow, format), kWindow, step_begin};
}

}  // namespace precis::bench
