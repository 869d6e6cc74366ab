#include "backend/cpu/peak.h"

#include "base/check.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/peak.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace precis {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using DF32 = hn::CappedTag<float, 16>;
using DI32 = hn::RebindToSigned<DF32>;
using DU32 = hn::RebindToUnsigned<DF32>;
using VF32 = hn::Vec<DF32>;
using VI32 = hn::Vec<DI32>;

constexpr std::size_t kLanes = hn::MaxLanes(DF32());
// Chains that do not wait for each other: two units times a latency of four to five cycles, and
// few enough for the sixteen registers of AVX2.
constexpr int kChains = 12;

// Keeps a value opaque, so that no multiplication by it can be folded away.
template <typename V>
HWY_INLINE V opaque(V v) {
  asm volatile("" : "+m"(v));
  return v;
}

float chain_f32(std::int64_t n_rounds) {
  const DF32 d;
  const VF32 factor = opaque(hn::Set(d, 0.999f));
  const VF32 term = opaque(hn::Set(d, 0.001f));
  VF32 sums[kChains];
  for (int i = 0; i < kChains; ++i) sums[i] = opaque(hn::Set(d, static_cast<float>(i)));
  for (std::int64_t round = 0; round < n_rounds; ++round) {
    HWY_UNROLL(kChains)
    for (int i = 0; i < kChains; ++i) sums[i] = hn::MulAdd(sums[i], factor, term);
  }
  VF32 total = hn::Zero(d);
  for (const VF32& sum : sums) total = hn::Add(total, sum);
  return hn::GetLane(hn::SumOfLanes(d, total));
}

#if HWY_TARGET == HWY_AVX3_DL
#define PRECIS_PEAK_INT8 1
HWY_INLINE VI32 add_int8(VI32 sum, VI32 a, VI32 b) {
  asm("vpdpbusd %2, %1, %0" : "+v"(sum.raw) : "v"(a.raw), "v"(b.raw));
  return sum;
}
#elif HWY_TARGET == HWY_AVX2
#define PRECIS_PEAK_INT8 1
HWY_INLINE VI32 add_int8(VI32 sum, VI32 a, VI32 b) {
  return VI32{_mm256_add_epi16(sum.raw, _mm256_maddubs_epi16(a.raw, b.raw))};
}
#elif HWY_TARGET == HWY_SSE4
#define PRECIS_PEAK_INT8 1
HWY_INLINE VI32 add_int8(VI32 sum, VI32 a, VI32 b) {
  return VI32{_mm_add_epi16(sum.raw, _mm_maddubs_epi16(a.raw, b.raw))};
}
#else
#define PRECIS_PEAK_INT8 0
#endif

#if PRECIS_PEAK_INT8
float chain_int8(std::int64_t n_rounds) {
  const DI32 d;
  const VI32 a = opaque(hn::Set(d, 0x01020301));
  const VI32 b = opaque(hn::Set(d, 0x02010102));
  VI32 sums[kChains];
  for (int i = 0; i < kChains; ++i) sums[i] = opaque(hn::Set(d, i));
  for (std::int64_t round = 0; round < n_rounds; ++round) {
    HWY_UNROLL(kChains)
    for (int i = 0; i < kChains; ++i) {
      // Without the barrier the compiler would move a·b, which never changes, out of the loop; a
      // local keeps it in a register, where an element of the array would go through memory.
      VI32 factor = a;
      asm volatile("" : "+v"(factor.raw));
      sums[i] = add_int8(sums[i], factor, b);
    }
  }
  VI32 total = hn::Zero(d);
  for (const VI32& sum : sums) total = hn::Add(total, sum);
  return static_cast<float>(hn::GetLane(hn::SumOfLanes(d, total)));
}
#else
float chain_int8(std::int64_t) {
  return 0;
}
#endif
#undef PRECIS_PEAK_INT8

#if HWY_TARGET == HWY_AVX3_DL
float chain_bf16(std::int64_t n_rounds) {
  const DF32 d;
  const VF32 a = opaque(hn::BitCast(d, hn::Set(DU32(), 0x3f803f80u)));  // pairs of 1.0
  const VF32 b = opaque(hn::BitCast(d, hn::Set(DU32(), 0x3a803a80u)));
  VF32 sums[kChains];
  for (int i = 0; i < kChains; ++i) sums[i] = opaque(hn::Set(d, static_cast<float>(i)));
  for (std::int64_t round = 0; round < n_rounds; ++round) {
    HWY_UNROLL(kChains)
    for (int i = 0; i < kChains; ++i) {
      // Highway's target list lacks this extension, so the compiler refuses the intrinsic.  A
      // local keeps the sum in a register, where an element of the array would go through memory.
      VF32 sum = sums[i];
      asm("vdpbf16ps %2, %1, %0" : "+v"(sum.raw) : "v"(a.raw), "v"(b.raw));
      sums[i] = sum;
    }
  }
  VF32 total = hn::Zero(d);
  for (const VF32& sum : sums) total = hn::Add(total, sum);
  return hn::GetLane(hn::SumOfLanes(d, total));
}
#else
float chain_bf16(std::int64_t) {
  return 0;
}
#endif

std::uint32_t read_lines(const std::byte* bytes, std::size_t n_bytes) {
  const DU32 d;
  constexpr std::size_t kVectors = 8;
  constexpr std::size_t kStep = kVectors * kLanes;
  const auto* words = reinterpret_cast<const std::uint32_t*>(bytes);
  hn::Vec<DU32> sums[kVectors];
  for (auto& sum : sums) sum = hn::Zero(d);
  for (std::size_t i = 0; i + kStep <= n_bytes / 4; i += kStep) {
    HWY_UNROLL(kVectors)
    for (std::size_t j = 0; j < kVectors; ++j) {
      sums[j] = hn::Add(sums[j], hn::Load(d, words + i + j * kLanes));
    }
  }
  auto total = hn::Zero(d);
  for (const auto& sum : sums) total = hn::Add(total, sum);
  return hn::GetLane(hn::SumOfLanes(d, total));
}

// Operations of one round: kChains vectors; bytes of a vector hold 4 products for each f32 lane,
// bf16 pairs 2.
double round_flop(int products_per_lane) {
  return 2.0 * kChains * static_cast<double>(kLanes) * products_per_lane;
}

}  // namespace HWY_NAMESPACE
}  // namespace precis
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace precis {
namespace {

bool has_bf16_extension() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx512bf16") != 0;
#else
  return false;
#endif
}

constexpr bool kIsX86 =
#if defined(__x86_64__)
    true;
#else
    false;
#endif

}  // namespace

std::string_view multiply_add_name(MultiplyAdd unit) {
  switch (unit) {
    case MultiplyAdd::kF32: return "f32";
    case MultiplyAdd::kBf16: return "bf16";
    case MultiplyAdd::kInt8: return "int8";
  }
  return "";
}

bool is_available(MultiplyAdd unit, Isa isa) {
  if (!is_available(isa)) return false;
  switch (unit) {
    case MultiplyAdd::kF32: return true;
    case MultiplyAdd::kBf16: return isa == Isa::kAvx512 && has_bf16_extension();
    case MultiplyAdd::kInt8: return kIsX86;
  }
  return false;
}

double flop_per_round(MultiplyAdd unit, Isa isa) {
  PRECIS_CHECK(is_available(unit, isa));
  const int products_per_lane = unit == MultiplyAdd::kF32 ? 1 : unit == MultiplyAdd::kBf16 ? 2 : 4;
  return PRECIS_CPU_ENTRY(isa, round_flop)(products_per_lane);
}

float run_multiply_adds(MultiplyAdd unit, Isa isa, std::int64_t n_rounds) {
  PRECIS_CHECK(is_available(unit, isa));
  switch (unit) {
    case MultiplyAdd::kF32: return PRECIS_CPU_ENTRY(isa, chain_f32)(n_rounds);
    case MultiplyAdd::kBf16: return PRECIS_CPU_ENTRY(isa, chain_bf16)(n_rounds);
    case MultiplyAdd::kInt8: return PRECIS_CPU_ENTRY(isa, chain_int8)(n_rounds);
  }
  return 0;
}

std::uint32_t read_all(Isa isa, std::span<const std::byte> bytes) {
  return PRECIS_CPU_ENTRY(isa, read_lines)(bytes.data(), bytes.size());
}

}  // namespace precis
#endif
