// The two sums of attention, in the one order that every result counts on: a score is a chain over channels
// in blocks, a value a chain over rows.  Where the floats come from is the caller's.
//
// Included once per instruction set by foreach_target.h, hence the guard that toggles.
#include <cstdint>

#include <hwy/highway.h>

#include "backend/cpu/simd.h"

#if defined(PRECIS_CPU_ATTEND_SUMS_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef PRECIS_CPU_ATTEND_SUMS_H_
#undef PRECIS_CPU_ATTEND_SUMS_H_
#else
#define PRECIS_CPU_ATTEND_SUMS_H_
#endif

HWY_BEFORE_NAMESPACE();
namespace precis {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

inline constexpr int kScoreVecs = 2;   // vectors of rows that are scored together
inline constexpr int kSumBlock = 128;  // a score's terms are summed in blocks of this many channels

// u = q·row·scale for kScoreVecs vectors of rows and kHeads heads, a channel after the other.
template <int kHeads>
class ScoreSums {
 public:
  HWY_INLINE ScoreSums(const float* q, std::int64_t q_stride) : q_(q), q_stride_(q_stride) {
    for (int h = 0; h < kHeads; ++h) {
      for (int v = 0; v < kScoreVecs; ++v) totals_[h][v] = sums_[h][v] = hn::Zero(DF32());
    }
  }

  HWY_INLINE void add(std::int64_t channel, VF32 rows_0, VF32 rows_1) {
    for (int h = 0; h < kHeads; ++h) {
      const auto query = hn::Set(DF32(), q_[h * q_stride_ + channel]);
      sums_[h][0] = hn::MulAdd(query, rows_0, sums_[h][0]);
      sums_[h][1] = hn::MulAdd(query, rows_1, sums_[h][1]);
    }
  }
  // After every kSumBlock channels, and after the last.
  HWY_INLINE void end_block() {
    for (int h = 0; h < kHeads; ++h) {
      for (int v = 0; v < kScoreVecs; ++v) {
        totals_[h][v] = hn::Add(totals_[h][v], sums_[h][v]);
        sums_[h][v] = hn::Zero(DF32());
      }
    }
  }
  HWY_INLINE void store(float scale, std::int64_t stride, float* out) const {
    const DF32 d;
    for (int h = 0; h < kHeads; ++h) {
      for (int v = 0; v < kScoreVecs; ++v) {
        hn::StoreU(hn::Mul(totals_[h][v], hn::Set(d, scale)), d,
                   out + h * stride + v * static_cast<int>(kLanes));
      }
    }
  }

 private:
  const float* q_;
  std::int64_t q_stride_;
  VF32 totals_[kHeads][kScoreVecs];
  VF32 sums_[kHeads][kScoreVecs];
};

// sums[h] += Σ_r weights[h][r]·row r for kVecs vectors of channels, rows ascending; load_row(r, values)
// gives those of a row.
template <int kHeads, int kVecs, class LoadRow>
HWY_INLINE void add_rows(const float* weights, std::int64_t weight_stride, int n_rows,
                         std::int64_t sum_stride, float* sums, const LoadRow& load_row) {
  const DF32 d;
  constexpr int kStep = static_cast<int>(kLanes);
  VF32 totals[kHeads][kVecs];
  for (int h = 0; h < kHeads; ++h) {
    for (int v = 0; v < kVecs; ++v) totals[h][v] = hn::Load(d, sums + h * sum_stride + v * kStep);
  }
  for (int r = 0; r < n_rows; ++r) {
    VF32 values[kVecs];
    load_row(r, values);
    for (int h = 0; h < kHeads; ++h) {
      const auto weight = hn::Set(d, weights[h * weight_stride + r]);
      for (int v = 0; v < kVecs; ++v) totals[h][v] = hn::MulAdd(weight, values[v], totals[h][v]);
    }
  }
  for (int h = 0; h < kHeads; ++h) {
    for (int v = 0; v < kVecs; ++v) hn::Store(totals[h][v], d, sums + h * sum_stride + v * kStep);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace precis
HWY_AFTER_NAMESPACE();

#endif
