#include "tensor/rows.h"

#include <algorithm>
#include <cmath>
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

float load_f32(const std::uint8_t* bytes) {
  float value;
  std::memcpy(&value, bytes, sizeof value);
  return value;
}

void read_bf16(const std::uint8_t* bytes, std::span<float> out) {
  for (std::size_t i = 0; i < out.size(); ++i) {
    std::uint16_t bits;
    std::memcpy(&bits, bytes + sizeof bits * i, sizeof bits);
    out[i] = bf16::from_bits(bits);
  }
}

void write_bf16(std::span<const float> values, std::uint8_t* out) {
  for (std::size_t i = 0; i < values.size(); ++i) {
    const std::uint16_t bits = bf16(values[i]).bits;
    std::memcpy(out + sizeof bits * i, &bits, sizeof bits);
  }
}

// One group under an F32 scale that is amax / 448, not a power of two.
void write_e4m3_group(std::span<const float> values, std::uint8_t* codes, std::uint8_t* scale_out) {
  float amax = 1e-4f;
  for (const float value : values) {
    amax = std::isnan(value) ? value : std::max(amax, std::abs(value));
    if (std::isnan(amax)) break;
  }
  const float scale = amax / kE4m3Max;
  for (std::size_t i = 0; i < values.size(); ++i) codes[i] = encode_e4m3(values[i] / scale);
  std::memcpy(scale_out, &scale, sizeof scale);
}

void read_nope(const std::uint8_t* data, const std::uint8_t* scales, const KvRowFormat& format,
               std::span<float> out) {
  switch (format.nope_storage) {
    case NopeStorage::kE4m3Scales8:
      for (std::size_t i = 0; i < out.size(); ++i) {
        out[i] = decode_e4m3(data[i]) * decode_e8m0(scales[i / KvRowFormat::kGroup]);
      }
      return;
    case NopeStorage::kE4m3Scales32:
      for (std::size_t i = 0; i < out.size(); ++i) {
        const std::size_t group = i / static_cast<std::size_t>(format.group());
        out[i] = decode_e4m3(data[i]) * load_f32(data + format.nope + sizeof(float) * group);
      }
      return;
    case NopeStorage::kBf16: read_bf16(data, out); return;
  }
}

void write_nope(std::span<const float> values, const KvRowFormat& format, std::uint8_t* data,
                std::uint8_t* scales) {
  switch (format.nope_storage) {
    case NopeStorage::kE4m3Scales8:
      // The padding of the scales is part of what snapshots hash, so it has a value.
      std::fill_n(scales, format.scale_bytes(), std::uint8_t{0});
      quantize_row_e4m3(values, KvRowFormat::kGroup, {data, values.size()},
                        {scales, static_cast<std::size_t>(format.n_groups())});
      return;
    case NopeStorage::kE4m3Scales32:
      for (int g = 0; g < format.n_groups(); ++g) {
        const int begin = g * format.group();
        const int n = std::min(format.group(), format.nope - begin);
        write_e4m3_group(values.subspan(begin, n), data + begin, data + format.nope + 4 * g);
      }
      return;
    case NopeStorage::kBf16: write_bf16(values, data); return;
  }
}

}  // namespace

std::vector<float> read_kv_row(const RowPool& pool, std::int64_t row, const KvRowFormat& format) {
  std::vector<float> out(format.width());
  const std::span<float> values(out);
  const std::uint8_t* data = as_bytes(pool.data(row));
  read_nope(data, as_bytes(pool.scales(row)), format, values.first(format.nope));
  const std::uint8_t* rotated = data + format.nope_bytes();
  if (format.rope_storage == RopeStorage::kF32) {
    std::memcpy(out.data() + format.nope, rotated, sizeof(float) * format.rope);
  } else {
    read_bf16(rotated, values.subspan(format.nope));
  }
  return out;
}

void write_kv_row(const RowPool& pool, std::int64_t row, const KvRowFormat& format,
                  std::span<const float> values) {
  std::uint8_t* data = as_bytes(pool.data(row));
  write_nope(values.first(format.nope), format, data, as_bytes(pool.scales(row)));
  std::uint8_t* rotated = data + format.nope_bytes();
  if (format.rope_storage == RopeStorage::kF32) {
    std::memcpy(rotated, values.data() + format.nope, sizeof(float) * format.rope);
  } else {
    write_bf16(values.subspan(format.nope, format.rope), rotated);
  }
}

void write_index_row(const RowPool& pool, std::int64_t row, const IndexRowFormat& format,
                     std::span<const float> values) {
  std::uint8_t* data = as_bytes(pool.data(row));
  std::uint8_t* scales = as_bytes(pool.scales(row));
  if (format.storage == IndexStorage::kE4m3) {
    write_e4m3_group(values, data, scales);
    return;
  }
  quantize_row_e2m1(values, IndexRowFormat::kGroup,
                    {data, static_cast<std::size_t>(format.data_bytes())},
                    {scales, static_cast<std::size_t>(format.scale_bytes())});
}

std::vector<float> read_index_row(const RowPool& pool, std::int64_t row,
                                  const IndexRowFormat& format) {
  std::vector<float> out(format.width);
  const std::uint8_t* data = as_bytes(pool.data(row));
  const std::uint8_t* scales = as_bytes(pool.scales(row));
  for (int i = 0; i < format.width; ++i) {
    out[i] =
        format.storage == IndexStorage::kE4m3
            ? decode_e4m3(data[i]) * load_f32(scales)
            : decode_e2m1(unpack_e2m1(data, i)) * decode_e8m0(scales[i / IndexRowFormat::kGroup]);
  }
  return out;
}

}  // namespace precis
