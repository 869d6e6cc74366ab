#include "tensor/rows.h"

#include <algorithm>
#include <cstring>

#include "tensor/bf16.h"
#include "tensor/float4.h"
#include "tensor/float8.h"
#include "tensor/quant.h"

namespace precis {
namespace {

std::uint8_t* as_bytes(std::byte* data) {
  return reinterpret_cast<std::uint8_t*>(data);
}

}  // namespace

std::vector<float> read_kv_row(const RowPool& pool, std::int64_t row, const KvRowFormat& format) {
  std::vector<float> out(format.width());
  const std::uint8_t* data = as_bytes(pool.data(row));
  const std::uint8_t* scales = as_bytes(pool.scales(row));
  for (int i = 0; i < format.nope; ++i) {
    out[i] = decode_e4m3(data[i]) * decode_e8m0(scales[i / KvRowFormat::kGroup]);
  }
  const std::uint8_t* rotated = data + format.nope;
  if (format.rope_storage == RopeStorage::kF32) {
    std::memcpy(out.data() + format.nope, rotated, sizeof(float) * format.rope);
    return out;
  }
  for (int i = 0; i < format.rope; ++i) {
    std::uint16_t bits;
    std::memcpy(&bits, rotated + sizeof bits * i, sizeof bits);
    out[format.nope + i] = bf16::from_bits(bits);
  }
  return out;
}

void write_kv_row(const RowPool& pool, std::int64_t row, const KvRowFormat& format,
                  std::span<const float> values) {
  std::uint8_t* data = as_bytes(pool.data(row));
  std::uint8_t* scales = as_bytes(pool.scales(row));
  // The padding of the scales is part of what snapshots hash, so it has a value.
  std::fill_n(scales, format.scale_bytes(), std::uint8_t{0});
  const auto nope = static_cast<std::size_t>(format.nope);
  quantize_row_e4m3(values.first(nope), KvRowFormat::kGroup, {data, nope},
                    {scales, static_cast<std::size_t>(format.n_groups())});
  std::uint8_t* rotated = data + format.nope;
  if (format.rope_storage == RopeStorage::kF32) {
    std::memcpy(rotated, values.data() + nope, sizeof(float) * format.rope);
    return;
  }
  for (int i = 0; i < format.rope; ++i) {
    const std::uint16_t bits = bf16(values[nope + i]).bits;
    std::memcpy(rotated + sizeof bits * i, &bits, sizeof bits);
  }
}

void write_index_row(const RowPool& pool, std::int64_t row, const IndexRowFormat& format,
                     std::span<const float> values) {
  quantize_row_e2m1(values, IndexRowFormat::kGroup,
                    {as_bytes(pool.data(row)), static_cast<std::size_t>(format.data_bytes())},
                    {as_bytes(pool.scales(row)), static_cast<std::size_t>(format.scale_bytes())});
}

std::vector<float> read_index_row(const RowPool& pool, std::int64_t row,
                                  const IndexRowFormat& format) {
  std::vector<float> out(format.width);
  const std::uint8_t* data = as_bytes(pool.data(row));
  const std::uint8_t* scales = as_bytes(pool.scales(row));
  for (int i = 0; i < format.width; ++i) {
    out[i] = decode_e2m1(unpack_e2m1(data, i)) * decode_e8m0(scales[i / IndexRowFormat::kGroup]);
  }
  return out;
}

}  // namespace precis
