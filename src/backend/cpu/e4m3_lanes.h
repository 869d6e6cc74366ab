// e4m3 codes to floats, a vector at a time.
//
// With VBMI the two upper bytes of the float, which hold every e4m3 value, are looked up for 64 codes at
// once.  Without it codes pass through f16.  An encoder writes NaN codes only under a scale of NaN, so
// what they become here does not matter.
//
// Included once per instruction set by foreach_target.h, hence the guard that toggles.
#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

#include <hwy/highway.h>

#include "backend/cpu/simd.h"
#include "tensor/float8.h"

#if defined(PRECIS_CPU_E4M3_LANES_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef PRECIS_CPU_E4M3_LANES_H_
#undef PRECIS_CPU_E4M3_LANES_H_
#else
#define PRECIS_CPU_E4M3_LANES_H_
#endif

HWY_BEFORE_NAMESPACE();
namespace precis {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

#if HWY_TARGET == HWY_AVX3_DL

inline constexpr int kCodesOfVector = 64;
using DCodes = hn::Repartition<std::uint8_t, DU32>;
using VCodes = hn::Vec<DCodes>;

// Byte `byte` of the floats of codes 0 … 127.
constexpr std::array<std::uint8_t, 128> make_e4m3_bytes(int byte) {
  std::array<std::uint8_t, 128> out{};
  for (std::size_t code = 0; code < out.size(); ++code) {
    out[code] =
        static_cast<std::uint8_t>(std::bit_cast<std::uint32_t>(kE4m3Values[code]) >> (8 * byte));
  }
  return out;
}
alignas(64) inline constexpr auto kE4m3UpperBytes = make_e4m3_bytes(3);
alignas(64) inline constexpr auto kE4m3LowerBytes = make_e4m3_bytes(2);

// Which of 64 codes become a vector of floats: byte 4·j + 2 names the lane's code, byte 4·j + 3 the same
// code 64 higher.
struct CodeLanes {
  VCodes indices;

  HWY_INLINE CodeLanes after(int n_codes) const {
    return {hn::Add(indices, hn::Set(DCodes(), static_cast<std::uint8_t>(n_codes)))};
  }
};

// Code stride·j in lane j.
template <int kStride>
HWY_INLINE CodeLanes code_lanes() {
  const DU32 d;
  const VU32 code = hn::Mul(hn::Iota(d, 0), hn::Set(d, kStride));
  const VU32 both = hn::Or(hn::ShiftLeft<16>(code), hn::ShiftLeft<24>(code));
  return {hn::BitCast(DCodes(), hn::Or(both, hn::Set(d, 64u << 24)))};
}

struct E4m3Bytes {
  VCodes upper;
  VCodes lower;

  HWY_INLINE VF32 floats(const CodeLanes& lanes) const {
    constexpr __mmask64 kUpperHalves = 0xccccccccccccccccULL;
    return hn::BitCast(DF32(), VCodes{_mm512_maskz_permutex2var_epi8(
                                   kUpperHalves, lower.raw, lanes.indices.raw, upper.raw)});
  }
};

HWY_INLINE E4m3Bytes look_up_e4m3(VCodes codes) {
  const DCodes d;
  const auto look_up = [&](const std::uint8_t* table) HWY_ATTR {
    return VCodes{_mm512_permutex2var_epi8(hn::Load(d, table).raw, codes.raw,
                                           hn::Load(d, table + kCodesOfVector).raw)};
  };
  const VCodes upper = look_up(kE4m3UpperBytes.data());
  return {hn::OrAnd(upper, codes, hn::Set(d, std::uint8_t{0x80})), look_up(kE4m3LowerBytes.data())};
}

// Of n ≤ 64 codes; those beyond are not read.
HWY_INLINE E4m3Bytes look_up_e4m3(const std::uint8_t* codes, int n) {
  const DCodes d;
  return look_up_e4m3(hn::MaskedLoad(hn::FirstN(d, static_cast<std::size_t>(n)), d, codes));
}

#else

// Sign, exponent and mantissa at the places of an f16 number, which is 2^-8 times as large, subnormals
// included.
template <class V16>
HWY_INLINE VF32 widen_e4m3(V16 bits) {
  const DF32 d;
  const hn::Rebind<hwy::float16_t, DF32> d_f16;
  return hn::Mul(hn::PromoteTo(d, hn::BitCast(d_f16, bits)), hn::Set(d, 256.0f));
}

// kLanes codes that follow each other.
HWY_INLINE VF32 decode_e4m3_lanes(const std::uint8_t* codes) {
  const hn::Rebind<std::int8_t, DF32> d_i8;
  const hn::Rebind<std::int16_t, DF32> d_i16;
  const hn::Rebind<std::uint16_t, DF32> d_u16;
  // Sign extension and a shift bring the bits to their places.
  const auto wide =
      hn::PromoteTo(d_i16, hn::LoadU(d_i8, reinterpret_cast<const std::int8_t*>(codes)));
  const auto bits = hn::And(hn::BitCast(d_u16, hn::ShiftLeft<7>(wide)), hn::Set(d_u16, 0xbfff));
  return widen_e4m3(bits);
}

#endif

// Words of four codes: use(i, floats) for the i-th code of each, i = 0 … 3.
template <class Use>
HWY_INLINE void decode_e4m3_words(VU32 words, const Use& use) {
#if HWY_TARGET == HWY_AVX3_DL
  const E4m3Bytes bytes = look_up_e4m3(hn::BitCast(DCodes(), words));
  const CodeLanes first = code_lanes<4>();
  for (int i = 0; i < 4; ++i) use(i, bytes.floats(first.after(i)));
#else
  const DU32 d_u32;
  const hn::Repartition<std::uint16_t, DU32> d_u16;
  const hn::Repartition<std::int16_t, DU32> d_i16;
  const hn::Rebind<std::uint16_t, DU32> d_half;
  const auto codes = hn::BitCast(d_u16, words);
  // A code in the upper byte of 16 bits to f16 bits: its sign doubled, the second one cleared.
  const auto to_f16 = [&](auto upper) HWY_ATTR {
    const auto shifted = hn::BitCast(d_u16, hn::ShiftRight<1>(hn::BitCast(d_i16, upper)));
    return hn::BitCast(d_u32, hn::And(shifted, hn::Set(d_u16, 0xbf80)));
  };
  const VU32 even = to_f16(hn::ShiftLeft<8>(codes));
  const VU32 odd = to_f16(codes);
  const auto widen = [&](VU32 halves)
                         HWY_ATTR { return widen_e4m3(hn::TruncateTo(d_half, halves)); };
  use(0, widen(even));
  use(1, widen(odd));
  use(2, widen(hn::ShiftRight<16>(even)));
  use(3, widen(hn::ShiftRight<16>(odd)));
#endif
}

// n codes that follow each other, n a multiple of kLanes: use(i, floats) for code i on.
template <class Use>
HWY_INLINE void decode_e4m3_run(const std::uint8_t* codes, int n, const Use& use) {
  constexpr int kStep = static_cast<int>(kLanes);
#if HWY_TARGET == HWY_AVX3_DL
  const CodeLanes first = code_lanes<1>();
  for (int begin = 0; begin < n; begin += kCodesOfVector) {
    const int n_own = std::min(kCodesOfVector, n - begin);
    const E4m3Bytes bytes = look_up_e4m3(codes + begin, n_own);
    for (int i = 0; i < n_own; i += kStep) use(begin + i, bytes.floats(first.after(i)));
  }
#else
  for (int i = 0; i < n; i += kStep) use(i, decode_e4m3_lanes(codes + i));
#endif
}

}  // namespace HWY_NAMESPACE
}  // namespace precis
HWY_AFTER_NAMESPACE();

#endif
