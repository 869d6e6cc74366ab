// route: gate scores, the choice of A experts and their weights.
//
// The product is a SIMD kernel; what follows is a few dozen scalars per token.  Their softplus is
// taken in f64, where the C library's log1p and exp agree between instruction sets once rounded.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "backend/cpu/backend.h"
#include "backend/cpu/weight.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/route.cc"
#include <hwy/foreach_target.h>  // must come before the per-target headers

#include "backend/cpu/product.h"

HWY_BEFORE_NAMESPACE();
namespace precis {
namespace HWY_NAMESPACE {
namespace {

// Products of up to kTileRows tokens with the whole gate: logits [n_rows, stride].
void gate_logits(Mat<const float> x, const CpuWeight& gate, float* logits, std::int64_t stride) {
  HWY_ALIGN float results[kTileRows * kTileOutputs];
  const float* rows[kTileRows];
  const int n_rows = static_cast<int>(x.rows);
  for (int r = 0; r < n_rows; ++r) rows[r] = x.row(r);
  for (std::int64_t panel = 0; panel < gate.n_panels(); panel += kTilePanels) {
    const auto n_panels =
        static_cast<int>(std::min<std::int64_t>(kTilePanels, gate.n_panels() - panel));
    multiply_tile(gate, panel, n_panels, rows, n_rows, results);
    for (int r = 0; r < n_rows; ++r) {
      std::copy_n(results + r * kTileOutputs, n_panels * kPanelOutputs,
                  logits + r * stride + panel * kPanelOutputs);
    }
  }
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace precis
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace precis {
namespace {

// log1p keeps what exp(x) adds below 2^-24, where log(1 + exp x) would give 0; above the threshold
// softplus(x) = x to the last bit, and exp would overflow far beyond it.
float gate_score(float logit) {
  constexpr float kSoftplusIsIdentity = 20;
  if (logit > kSoftplusIsIdentity) return std::sqrt(logit);
  const auto softplus = static_cast<float>(std::log1p(std::exp(static_cast<double>(logit))));
  return std::sqrt(softplus);
}

// The n largest of score + bias, equal ones by lowest index, in ascending order of index.  A NaN
// is larger than nothing, so experts chosen beside it stay distinct.
void choose_experts(std::span<const float> scores, std::span<const float> bias,
                    std::span<std::int32_t> chosen) {
  const auto value = [&](std::int32_t e) {
    const auto i = static_cast<std::size_t>(e);
    const float biased = scores[i] + bias[i];
    return std::isnan(biased) ? -std::numeric_limits<float>::infinity() : biased;
  };
  const auto precedes = [&](std::int32_t a, std::int32_t b) {
    const float value_a = value(a);
    const float value_b = value(b);
    return value_a != value_b ? value_a > value_b : a < b;
  };
  // Insertion into the A best so far: A is 2 to 8 and most candidates fail the first comparison.
  std::size_t n = 0;
  for (std::int32_t e = 0; e < std::ssize(scores); ++e) {
    if (n == chosen.size() && !precedes(e, chosen[n - 1])) continue;
    std::size_t place = n < chosen.size() ? n++ : n - 1;
    for (; place > 0 && precedes(e, chosen[place - 1]); --place) chosen[place] = chosen[place - 1];
    chosen[place] = e;
  }
  std::sort(chosen.begin(), chosen.end());
}

void route_token(const RouteArgs& a, std::int64_t t, std::span<float> logits) {
  for (float& logit : logits) logit = gate_score(logit);
  const std::span<std::int32_t> chosen = a.expert_idx.row_span(t);
  if (a.tid2eid.empty()) {
    choose_experts(logits, a.bias, chosen);
  } else {
    const std::span<const std::int32_t> listed =
        a.tid2eid.row_span(a.ids[static_cast<std::size_t>(t)]);
    std::copy(listed.begin(), listed.end(), chosen.begin());
    std::sort(chosen.begin(), chosen.end());
  }
  float sum = 0;
  for (const std::int32_t e : chosen) sum += logits[static_cast<std::size_t>(e)];
  for (std::size_t i = 0; i < chosen.size(); ++i) {
    a.weight(t, static_cast<std::int64_t>(i)) =
        logits[static_cast<std::size_t>(chosen[i])] / sum * a.route_scale;
  }
}

}  // namespace

void CpuBackend::do_route(const RouteArgs& a) {
  const CpuWeight& gate = as_cpu(*a.gate);
  const auto n_experts = static_cast<std::size_t>(gate.n_out());
  const std::int64_t stride = gate.n_panels() * kPanelOutputs;
  const auto multiply = PRECIS_CPU_ENTRY(isa_, gate_logits);
  const double token_ns = product_ns(gate.n_in() * stride, kTileRows) / kTileRows +
                          40.0 * static_cast<double>(n_experts);
  const std::int64_t grain = std::min<std::int64_t>(grain_for(token_ns), kTileRows);
  threads_.parallel_for(a.x.rows, grain, [&](std::int64_t begin, std::int64_t end, int worker) {
    auto* logits = worker_scratch_[static_cast<std::size_t>(worker)].get<float>(
        static_cast<std::size_t>((end - begin) * stride));
    multiply(a.x.slice_rows(begin, end - begin), gate, logits, stride);
    for (std::int64_t t = begin; t < end; ++t) {
      route_token(a, t, std::span(logits + (t - begin) * stride, n_experts));
    }
  });
}

}  // namespace precis
#endif  // HWY_ONCE
