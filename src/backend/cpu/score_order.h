// From vectors of scores to the list of the best rows.
//
// Included once per instruction set by foreach_target.h, hence the guard that toggles.
#include <cstdint>

#include <hwy/highway.h>

#include "backend/cpu/simd.h"
#include "backend/cpu/top_rows.h"

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

// Scores as integers in the same order, NaN below every number.
HWY_INLINE VI32 order_lanes(VF32 score) {
  const DF32 d;
  const DI32 d_i32;
  const auto bits = hn::BitCast(d_i32, hn::Add(score, hn::Zero(d)));  // −0 becomes +0
  const auto order = hn::Xor(bits, hn::And(hn::ShiftRight<31>(bits), hn::Set(d_i32, 0x7fffffff)));
  const auto is_nan = hn::RebindMask(d_i32, hn::IsNaN(score));
  return hn::IfThenElse(is_nan, hn::Set(d_i32, std::int32_t{-0x7fffffff - 1}), order);
}

// Offers those of rows first_row … first_row + n − 1 that are not ruled out; n <= the lanes.
inline HWY_NOINLINE void offer(VF32 score, float bound, Rounding rounding, std::int32_t first_row,
                               int n, TopRows& best) {
  const DF32 d;
  std::uint8_t ruled_out[8] = {};
  hn::StoreMaskBits(d, hn::Le(score, hn::Set(d, bound)), ruled_out);
  std::uint32_t lanes = ~(ruled_out[0] | std::uint32_t{ruled_out[1]} << 8) & ((1u << n) - 1);
  HWY_ALIGN std::int32_t orders[kLanes];
  hn::Store(order_lanes(round_as(score, rounding)), DI32(), orders);
  for (; lanes != 0; lanes &= lanes - 1) {
    const int i = std::countr_zero(lanes);
    best.add(orders[i], first_row + i);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace precis
HWY_AFTER_NAMESPACE();

#endif
