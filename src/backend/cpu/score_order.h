// From vectors of scores to the list of the best rows.
//
// Included once per instruction set by foreach_target.h, hence the guard that toggles.
#include <algorithm>
#include <bit>
#include <cstdint>
#include <type_traits>

#include <hwy/highway.h>

#include "backend/cpu/simd.h"
#include "backend/cpu/top_rows.h"
#include "tensor/bf16.h"

#if defined(PRECIS_CPU_SCORE_ORDER_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef PRECIS_CPU_SCORE_ORDER_H_
#undef PRECIS_CPU_SCORE_ORDER_H_
#else
#define PRECIS_CPU_SCORE_ORDER_H_
#endif

HWY_BEFORE_NAMESPACE();
namespace precis {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// One bit for each lane that the bound does not rule out.
HWY_INLINE std::uint64_t lanes_above(VF32 scores, VF32 bound) {
  const DF32 d;
  std::conditional_t<(kLanes > 8), std::uint16_t, std::uint8_t> ruled_out = 0;
  hn::StoreMaskBits(d, hn::Le(scores, bound), reinterpret_cast<std::uint8_t*>(&ruled_out));
  return ~std::uint64_t{ruled_out} & ((std::uint64_t{1} << kLanes) - 1);
}

// Offers rows first_row … first_row + n − 1.  `scores` is aligned, and readable up to a whole
// vector.
HWY_INLINE void offer(const float* scores, int n, Rounding rounding, std::int32_t first_row,
                      TopRows& best) {
  const DF32 d;
  constexpr int kRows = static_cast<int>(kLanes);
  // Rounding keeps the order: what is ruled out after it is ruled out before it.
  const auto bound = hn::Set(d, best.bound(first_row));
  for (int word = 0; word < n; word += 64) {
    std::uint64_t lanes = 0;
    for (int i = word; i < std::min(n, word + 64); i += kRows) {
      lanes |= lanes_above(hn::Load(d, scores + i), bound) << (i - word);
    }
    if (n - word < 64) lanes &= (std::uint64_t{1} << (n - word)) - 1;
    for (; lanes != 0; lanes &= lanes - 1) {
      const int i = word + std::countr_zero(lanes);
      const float score =
          rounding == Rounding::kBf16 ? precis::round_to_bf16(scores[i]) : scores[i];
      best.add(score, first_row + i);
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace precis
HWY_AFTER_NAMESPACE();

#endif
