// Packed KV rows to floats, lane by lane: attention decodes every row it reads.  Rows are written
// by tensor/rows.h, once each.
//
// Included once per instruction set by foreach_target.h, hence the guard that toggles.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include <hwy/highway.h>

#include "backend/cpu/e4m3_lanes.h"
#include "backend/cpu/simd.h"
#include "base/integers.h"
#include "tensor/bf16.h"
#include "tensor/float8.h"
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

struct RowAddress {
  const std::byte* data;
  const std::byte* scales;
};

// As RowPool's data() and scales(), with one division instead of four: it would cost as much as
// decoding the row.
HWY_INLINE RowAddress locate_row(const RowPool& pool, std::int64_t row) {
  const auto index = static_cast<std::uint32_t>(row);
  const auto rows_per_page = static_cast<std::uint32_t>(pool.rows_per_page);
  const std::uint32_t page = index / rows_per_page;
  const std::int64_t in_page = index - page * rows_per_page;
  const std::byte* begin = pool.pages[page];
  return {begin + in_page * pool.data_bytes,
          begin + std::int64_t{pool.rows_per_page} * pool.data_bytes + in_page * pool.scale_bytes};
}

// Of the 64 channels of a group, where scales lie beside the rows.
inline float e8m0_scale(const RowAddress& row, int group) {
  return decode_e8m0(static_cast<std::uint8_t>(row.scales[group]));
}

HWY_INLINE VF32 decode_bf16_lanes(const std::uint16_t* bits) {
  const DU32 d;
  const hn::Rebind<std::uint16_t, DU32> d_u16;
  return hn::BitCast(DF32(), hn::ShiftLeft<16>(hn::PromoteTo(d, hn::LoadU(d_u16, bits))));
}

// The rotated channels of a row, `n` of them, as floats.
HWY_INLINE void decode_bf16(const std::byte* values, int n, float* out) {
  constexpr int kStep = static_cast<int>(kLanes);
  const auto* bits = reinterpret_cast<const std::uint16_t*>(values);
  int c = 0;
  for (; c + kStep <= n; c += kStep) hn::StoreU(decode_bf16_lanes(bits + c), DF32(), out + c);
  for (; c < n; ++c) {
    bf16 value;
    std::memcpy(&value, values + 2 * c, sizeof(value));
    out[c] = value;
  }
}

// Of n e4m3 codes the `needed` channels, and others of the same vectors, each times scale_of(group).
template <class ScaleOf>
HWY_INLINE void decode_e4m3_groups(const std::uint8_t* codes, int n, int group,
                                   const Channels& needed, const ScaleOf& scale_of, float* out) {
  const DF32 d;
  constexpr int kStep = static_cast<int>(kLanes);
  const int needed_begin = needed.begin / kStep * kStep;
  const int needed_end = std::min(round_up(needed.end(), kStep), n);
  for (int begin = needed_begin / group * group; begin < needed_end; begin += group) {
    const int end = std::min(begin + group, needed_end);
    const float scale = scale_of(begin / group);
    const int first = std::max(begin, needed_begin);
    const int n_whole = (end - first) / kStep * kStep;
    decode_e4m3_run(codes + first, n_whole, [&](int i, VF32 values) HWY_ATTR {
      hn::StoreU(hn::Mul(values, hn::Set(d, scale)), d, out + first + i);
    });
    for (int c = first + n_whole; c < end; ++c) out[c] = decode_e4m3(codes[c]) * scale;
  }
}

// A row as format.width() floats, of which only `needed` have to be right: a row may
// hold keys and values, and a task may want some channels of either.
HWY_INLINE void decode_kv_row(const KvRowFormat& format, const RowAddress& address,
                              const Channels& needed, float* out) {
  const auto* codes = reinterpret_cast<const std::uint8_t*>(address.data);
  if (format.nope_storage == NopeStorage::kE4m3Scales8) {
    decode_e4m3_groups(
        codes, format.nope, KvRowFormat::kGroup, needed,
        [&](int g) { return e8m0_scale(address, g); }, out);
  } else if (format.nope_storage == NopeStorage::kE4m3Scales32) {
    const std::byte* scales = address.data + format.nope;
    const auto scale_of = [&](int g) {
      float scale;
      std::memcpy(&scale, scales + sizeof(scale) * g, sizeof(scale));
      return scale;
    };
    decode_e4m3_groups(codes, format.nope, format.group(), needed, scale_of, out);
  } else {
    const int end = std::min(needed.end(), format.nope);
    if (needed.begin < end) {
      decode_bf16(address.data + 2 * needed.begin, end - needed.begin, out + needed.begin);
    }
  }
  if (needed.end() <= format.nope) return;
  const std::byte* rotated = address.data + format.nope_bytes();
  if (format.rope_storage == RopeStorage::kBf16) {
    decode_bf16(rotated, format.rope, out + format.nope);
  } else {
    std::memcpy(out + format.nope, rotated, sizeof(float) * static_cast<std::size_t>(format.rope));
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace precis
HWY_AFTER_NAMESPACE();

#endif
