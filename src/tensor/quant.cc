// The group rule, once; e4m3 and e2m1 differ in floor, largest value and code width.
#include "tensor/quant.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/check.h"
#include "base/integers.h"
#include "tensor/float4.h"
#include "tensor/float8.h"

namespace precis {
namespace {

constexpr float kE4m3AmaxFloor = 1e-4f;
constexpr float kE2m1AmaxFloor = 6 * 0x1p-126f;

// Compared as integers, which order magnitudes as floats do and put NaN above infinity: a NaN
// survives wherever it stands, where std::max would depend on the order.
float max_magnitude(std::span<const float> x) {
  std::uint32_t max_bits = 0;
  for (const float value : x) {
    max_bits = std::max(max_bits, std::bit_cast<std::uint32_t>(value) & 0x7fffffff);
  }
  return std::bit_cast<float>(max_bits);
}

// NaN fails the comparison and so passes through.
float floored(float amax, float floor) {
  return amax < floor ? floor : amax;
}

// 1 / scale is a power of two within the normal floats for every byte the group rule produces, so
// multiplying by it equals dividing by the scale bit for bit.
float inverse_scale(std::uint8_t scale) {
  return 1.0f / decode_e8m0(scale);
}

}  // namespace

std::uint8_t e4m3_group_scale(float amax) {
  return encode_e8m0_ceil(floored(amax, kE4m3AmaxFloor) * (1.0f / kE4m3Max));
}

std::uint8_t e2m1_group_scale(float amax) {
  return encode_e8m0_ceil(floored(amax, kE2m1AmaxFloor) * (1.0f / kE2m1Max));
}

std::uint8_t quantize_group_e4m3(std::span<const float> x, std::span<std::uint8_t> codes) {
  PRECIS_CHECK_EQ(codes.size(), x.size());
  const std::uint8_t scale = e4m3_group_scale(max_magnitude(x));
  const float inverse = inverse_scale(scale);
  for (std::size_t i = 0; i < x.size(); ++i) codes[i] = encode_e4m3(x[i] * inverse);
  return scale;
}

std::uint8_t quantize_group_e2m1(std::span<const float> x, std::span<std::uint8_t> packed) {
  PRECIS_CHECK_EQ(packed.size() * 2, x.size());
  const std::uint8_t scale = e2m1_group_scale(max_magnitude(x));
  const float inverse = inverse_scale(scale);
  for (std::size_t i = 0; i < packed.size(); ++i) {
    packed[i] = pack_e2m1(encode_e2m1(x[2 * i] * inverse), encode_e2m1(x[2 * i + 1] * inverse));
  }
  return scale;
}

void quantize_row_e4m3(std::span<const float> x, std::size_t group, std::span<std::uint8_t> codes,
                       std::span<std::uint8_t> scales) {
  PRECIS_CHECK_LT(std::size_t{0}, group);
  PRECIS_CHECK_EQ(codes.size(), x.size());
  PRECIS_CHECK_EQ(scales.size(), ceil_div(x.size(), group));
  for (std::size_t g = 0; g < scales.size(); ++g) {
    const std::size_t begin = g * group;
    const std::size_t n = std::min(group, x.size() - begin);
    scales[g] = quantize_group_e4m3(x.subspan(begin, n), codes.subspan(begin, n));
  }
}

void quantize_row_e2m1(std::span<const float> x, std::size_t group, std::span<std::uint8_t> packed,
                       std::span<std::uint8_t> scales) {
  PRECIS_CHECK_LT(std::size_t{0}, group);
  PRECIS_CHECK_EQ(group % 2, std::size_t{0});
  PRECIS_CHECK_EQ(packed.size() * 2, x.size());
  PRECIS_CHECK_EQ(scales.size(), ceil_div(x.size(), group));
  for (std::size_t g = 0; g < scales.size(); ++g) {
    const std::size_t begin = g * group;
    const std::size_t n = std::min(group, x.size() - begin);
    scales[g] = quantize_group_e2m1(x.subspan(begin, n), packed.subspan(begin / 2, n / 2));
  }
}

void fake_quantize_row_e4m3(std::span<float> x, std::size_t group) {
  PRECIS_CHECK_LT(std::size_t{0}, group);
  for (std::size_t begin = 0; begin < x.size(); begin += group) {
    const std::span<float> part = x.subspan(begin, std::min(group, x.size() - begin));
    const std::uint8_t byte = e4m3_group_scale(max_magnitude(part));
    const float inverse = inverse_scale(byte);
    const float scale = decode_e8m0(byte);
    for (float& value : part) value = decode_e4m3(encode_e4m3(value * inverse)) * scale;
  }
}

void fake_quantize_row_e2m1(std::span<float> x, std::size_t group) {
  PRECIS_CHECK_LT(std::size_t{0}, group);
  for (std::size_t begin = 0; begin < x.size(); begin += group) {
    const std::span<float> part = x.subspan(begin, std::min(group, x.size() - begin));
    const std::uint8_t byte = e2m1_group_scale(max_magnitude(part));
    const float inverse = inverse_scale(byte);
    const float scale = decode_e8m0(byte);
    for (float& value : part) value = decode_e2m1(encode_e2m1(value * inverse)) * scale;
  }
}

void decode_row(const Fp8Weight& weight, std::size_t row, std::span<float> out) {
  const std::size_t n_col_blocks = ceil_div(weight.n_cols, kFp8Block);
  PRECIS_CHECK_LT(row, weight.n_rows);
  PRECIS_CHECK_EQ(out.size(), weight.n_cols);
  PRECIS_CHECK_EQ(weight.codes.size(), weight.n_rows * weight.n_cols);
  PRECIS_CHECK_EQ(weight.scales.size(), ceil_div(weight.n_rows, kFp8Block) * n_col_blocks);
  const std::uint8_t* codes = weight.codes.data() + row * weight.n_cols;
  const std::uint8_t* scales = weight.scales.data() + row / kFp8Block * n_col_blocks;
  for (std::size_t block = 0; block < n_col_blocks; ++block) {
    const float scale = decode_e8m0(scales[block]);
    const std::size_t end = std::min((block + 1) * kFp8Block, weight.n_cols);
    for (std::size_t i = block * kFp8Block; i < end; ++i) out[i] = decode_e4m3(codes[i]) * scale;
  }
}

void decode_row(const Fp4Weight& weight, std::size_t row, std::span<float> out) {
  const std::size_t n_groups = ceil_div(weight.n_cols, kFp4Group);
  PRECIS_CHECK_LT(row, weight.n_rows);
  PRECIS_CHECK_EQ(weight.n_cols % 2, std::size_t{0});
  PRECIS_CHECK_EQ(out.size(), weight.n_cols);
  PRECIS_CHECK_EQ(weight.packed.size(), weight.n_rows * (weight.n_cols / 2));
  PRECIS_CHECK_EQ(weight.scales.size(), weight.n_rows * n_groups);
  const std::uint8_t* packed = weight.packed.data() + row * (weight.n_cols / 2);
  const std::uint8_t* scales = weight.scales.data() + row * n_groups;
  for (std::size_t group = 0; group < n_groups; ++group) {
    const float scale = decode_e8m0(scales[group]);
    const std::size_t end = std::min((group + 1) * kFp4Group, weight.n_cols);
    for (std::size_t i = group * kFp4Group; i < end; i += 2) {
      out[i] = decode_e2m1(packed[i / 2] & 0xf) * scale;
      out[i + 1] = decode_e2m1(packed[i / 2] >> 4) * scale;
    }
  }
}

std::optional<std::size_t> find_nan_scale(std::span<const std::uint8_t> scales) {
  if (scales.empty()) return std::nullopt;
  const void* hit = std::memchr(scales.data(), kE8m0Nan, scales.size());
  if (hit == nullptr) return std::nullopt;
  return static_cast<const std::uint8_t*>(hit) - scales.data();
}

}  // namespace precis
