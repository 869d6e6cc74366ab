// rms_norm and add_to_streams: one pass over each row.
#include "backend/cpu/backend.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/norm.cc"
#include <hwy/foreach_target.h>  // must come before the per-target headers

#include "backend/cpu/grain.h"
#include "backend/cpu/simd.h"

HWY_BEFORE_NAMESPACE();
namespace precis {
namespace HWY_NAMESPACE {
namespace {

void norm_row(const float* x, std::span<const float> weight, float eps, Rounding rounding,
              float* out) {
  const DF32 df;
  const std::size_t n = weight.size();
  const VF32 scale = hn::Set(df, inverse_rms(x, n, eps));
  std::size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const VF32 v = hn::Mul(hn::Mul(hn::LoadU(df, x + i), scale), hn::LoadU(df, &weight[i]));
    hn::StoreU(round_as(v, rounding), df, out + i);
  }
  if (i < n) {
    const VF32 v = hn::Mul(hn::Mul(load_first(x + i, n - i), scale), load_first(&weight[i], n - i));
    store_first(round_as(v, rounding), out + i, n - i);
  }
}

void add_row(const float* x, std::size_t n, Rounding rounding, float* sum) {
  const DF32 df;
  std::size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const VF32 v = hn::Add(hn::LoadU(df, sum + i), hn::LoadU(df, x + i));
    hn::StoreU(round_as(v, rounding), df, sum + i);
  }
  if (i < n) {
    const VF32 v = hn::Add(load_first(sum + i, n - i), load_first(x + i, n - i));
    store_first(round_as(v, rounding), sum + i, n - i);
  }
}

void run_rms_norm(const RmsNormArgs& a, std::int64_t row) {
  norm_row(a.x.row(row), a.weight, a.eps, a.rounding, a.out.row(row));
}

void run_add_to_streams(const AddToStreamsArgs& a, std::int64_t t) {
  for (std::int64_t m = 0; m < a.streams.planes; ++m) {
    add_row(a.x.row(t), static_cast<std::size_t>(a.x.cols), a.rounding, a.streams.at(t, m));
  }
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace precis
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace precis {

void CpuBackend::do_rms_norm(const RmsNormArgs& a) {
  const auto run = PRECIS_CPU_ENTRY(isa_, run_rms_norm);
  for_each(threads_, a.x.rows, static_cast<double>(a.x.cols) / 4,
           [&](std::int64_t row) { run(a, row); });
}

void CpuBackend::do_add_to_streams(const AddToStreamsArgs& a) {
  const auto run = PRECIS_CPU_ENTRY(isa_, run_add_to_streams);
  for_each(threads_, a.streams.n, static_cast<double>(a.streams.planes * a.streams.cols) / 8,
           [&](std::int64_t t) { run(a, t); });
}

}  // namespace precis
#endif  // HWY_ONCE
