#include "backend/ref/weight.h"

#include <cstring>

#include "base/check.h"
#include "tensor/bf16.h"
#include "tensor/float4.h"
#include "tensor/float8.h"

namespace precis::ref {
namespace {

float scale_at(const WeightSource& source, std::int64_t row, std::int64_t col) {
  const std::int64_t scales_per_row = (source.n_in + source.block_in - 1) / source.block_in;
  return decode_e8m0(
      source.scales[row / source.block_out * scales_per_row + col / source.block_in]);
}

float value_at(const WeightSource& source, std::int64_t row, std::int64_t col) {
  const std::int64_t index = row * source.n_in + col;
  const auto* bytes = reinterpret_cast<const std::uint8_t*>(source.codes);
  switch (source.format) {
    case WeightFormat::kF32: {
      float value;  // a mapped checkpoint need not be aligned
      std::memcpy(&value, bytes + 4 * index, sizeof value);
      return value;
    }
    case WeightFormat::kBf16: {
      std::uint16_t bits;
      std::memcpy(&bits, bytes + 2 * index, sizeof bits);
      return bf16::from_bits(bits);
    }
    case WeightFormat::kFp8Block: return decode_e4m3(bytes[index]) * scale_at(source, row, col);
    case WeightFormat::kFp4Group:
      return decode_e2m1(unpack_e2m1(bytes, index)) * scale_at(source, row, col);
  }
  return 0;
}

}  // namespace

RefWeight::RefWeight(const WeightSource& source)
    : Weight(source.format, source.n_out, source.n_in), values_(source.n_out * source.n_in) {
  for (std::int64_t row = 0; row < source.n_out; ++row) {
    for (std::int64_t col = 0; col < source.n_in; ++col) {
      values_[row * source.n_in + col] = value_at(source, row, col);
    }
  }
}

std::span<const float> weight_row(const Weight* weight, std::int64_t row_idx) {
  return static_cast<const RefWeight*>(weight)->row(row_idx);
}

}  // namespace precis::ref
