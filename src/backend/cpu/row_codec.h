// Packed KV rows to and from floats.  What a quantised group is, tensor/quant.h says; this file
// only knows how the parts of a row follow each other, and decodes them lane by lane.
//
// Included once per instruction set by foreach_target.h, hence the guard that toggles.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include <hwy/highway.h>

#include "backend/cpu/simd.h"
#include "tensor/bf16.h"
#include "tensor/float8.h"
#include "tensor/quant.h"
#include "tensor/view.h"

#if defined(PRECIS_CPU_ROW_CODEC_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef PRECIS_CPU_ROW_CODEC_H_
#undef PRECIS_CPU_ROW_CODEC_H_
#else
#define PRECIS_CPU_ROW_CODEC_H_
#endif

HWY_BEFORE_NAMESPACE();
namespace precis {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// e4m3 codes as floats, NaN codes aside: an encoder writes those only under a scale of NaN.
// Subnormal codes go through an integer conversion: as shifted bits they would be f32 subnormals,
// for which some processors take a microcode trap at every one.
HWY_INLINE VF32 decode_e4m3_lanes(const std::uint8_t* codes) {
  const DF32 d;
  const hn::Rebind<std::uint8_t, DF32> d_u8;
  const DU32 d_u32;
  const DI32 d_i32;
  const auto code = hn::PromoteTo(d_u32, hn::LoadU(d_u8, codes));
  const auto magnitude = hn::And(code, hn::Set(d_u32, 0x7f));
  const auto sign = hn::ShiftLeft<24>(hn::Xor(code, magnitude));
  const auto normal = hn::Add(hn::ShiftLeft<20>(magnitude), hn::Set(d_u32, 120u << 23));
  const auto subnormal =
      hn::Mul(hn::ConvertTo(d, hn::BitCast(d_i32, magnitude)), hn::Set(d, 0x1p-9f));
  const auto is_subnormal = hn::Lt(hn::BitCast(d_i32, magnitude), hn::Set(d_i32, std::int32_t{8}));
  const auto value =
      hn::IfThenElse(hn::RebindMask(d, is_subnormal), subnormal, hn::BitCast(d, normal));
  return hn::Or(value, hn::BitCast(d, sign));
}

// Writes format.width() floats.
HWY_INLINE void decode_kv_row(const KvRowFormat& format, const std::byte* data,
                              const std::byte* scales, float* out) {
  const DF32 d;
  constexpr int kStep = static_cast<int>(kLanes);
  const auto* codes = reinterpret_cast<const std::uint8_t*>(data);
  const auto* scale_bytes = reinterpret_cast<const std::uint8_t*>(scales);
  for (int begin = 0; begin < format.nope; begin += KvRowFormat::kGroup) {
    const int end = std::min(begin + KvRowFormat::kGroup, format.nope);
    const float scale = decode_e8m0(scale_bytes[begin / KvRowFormat::kGroup]);
    int c = begin;
    for (; c + kStep <= end; c += kStep) {
      hn::StoreU(hn::Mul(decode_e4m3_lanes(codes + c), hn::Set(d, scale)), d, out + c);
    }
    for (; c < end; ++c) out[c] = decode_e4m3(codes[c]) * scale;
  }
  const std::byte* rotated = data + format.nope;
  if (format.rope_storage == RopeStorage::kF32) {
    std::memcpy(out + format.nope, rotated, sizeof(float) * static_cast<std::size_t>(format.rope));
    return;
  }
  for (int c = 0; c < format.rope; ++c) {
    std::uint16_t bits;
    std::memcpy(&bits, rotated + 2 * c, sizeof(bits));
    const std::uint32_t wide = std::uint32_t{bits} << 16;
    std::memcpy(out + format.nope + c, &wide, sizeof(wide));
  }
}

// Packs format.width() floats; the padding behind the scales becomes zero.
HWY_INLINE void encode_kv_row(const KvRowFormat& format, const float* row, std::byte* data,
                              std::byte* scales) {
  const auto nope = static_cast<std::size_t>(format.nope);
  const auto n_groups = static_cast<std::size_t>(format.n_groups());
  std::memset(scales, 0, static_cast<std::size_t>(format.scale_bytes()));
  quantize_row_e4m3({row, nope}, kKvGroup, {reinterpret_cast<std::uint8_t*>(data), nope},
                    {reinterpret_cast<std::uint8_t*>(scales), n_groups});
  std::byte* rotated = data + nope;
  if (format.rope_storage == RopeStorage::kF32) {
    std::memcpy(rotated, row + nope, sizeof(float) * static_cast<std::size_t>(format.rope));
    return;
  }
  for (int c = 0; c < format.rope; ++c) {
    const bf16 value(row[format.nope + c]);
    std::memcpy(rotated + 2 * c, &value, sizeof(value));
  }
}

// Packs format.width() floats.
HWY_INLINE void encode_index_row(const IndexRowFormat& format, const float* row, std::byte* data,
                                 std::byte* scales) {
  quantize_row_e2m1(
      {row, static_cast<std::size_t>(format.width)}, kFp4Group,
      {reinterpret_cast<std::uint8_t*>(data), static_cast<std::size_t>(format.data_bytes())},
      {reinterpret_cast<std::uint8_t*>(scales), static_cast<std::size_t>(format.scale_bytes())});
}

}  // namespace HWY_NAMESPACE
}  // namespace precis
HWY_AFTER_NAMESPACE();

#endif
