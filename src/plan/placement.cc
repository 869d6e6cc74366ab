#include "plan/placement.h"

#include <algorithm>
#include <cmath>

namespace precis {
namespace {

std::int64_t whole(double n) {
  return n > 0 ? static_cast<std::int64_t>(n) : 0;
}

std::int64_t longest_context(const PlannedModel& model, double bytes_per_request) {
  const double growing = bytes_per_request - static_cast<double>(model.kv(0).total());
  if (growing <= 0) return 0;
  const std::int64_t limit = model.max_context() > 0 ? model.max_context() : kMaxContext;
  // Whole pages, so that what is promised is what a cache of that length takes.
  constexpr std::int64_t kPage = 128;
  return std::min(limit, whole(growing / model.kv_bytes_per_token()) / kPage * kPage);
}

}  // namespace

Placement place(const PlannedModel& model, const WeightPlan& weights, std::int64_t n_tokens,
                std::int64_t batch, const Hardware& hardware, int n_gpus) {
  const auto weight_bytes = static_cast<double>(weights.n_bytes);
  const auto request_bytes = static_cast<double>(model.kv(n_tokens).total());
  const double device_bytes = kUsableShare * hardware.memory_bytes;

  Placement place;
  place.needed_bytes = weight_bytes + static_cast<double>(batch) * request_bytes;
  place.usable_bytes = device_bytes * n_gpus;
  place.fits = place.needed_bytes <= place.usable_bytes;
  place.n_gpus_needed = whole(std::ceil(place.needed_bytes / device_bytes));
  const double for_caches = place.usable_bytes - weight_bytes;
  place.max_batch = whole(for_caches / request_bytes);
  place.max_context = longest_context(model, for_caches / static_cast<double>(batch));
  place.n_experts = model.n_experts();
  if (place.fits || place.n_experts == 0) return place;
  const double expert_bytes =
      static_cast<double>(weights.routed_expert_bytes) / static_cast<double>(place.n_experts);
  place.experts_off_card =
      whole(std::ceil((place.needed_bytes - place.usable_bytes) / expert_bytes));
  if (place.experts_off_card > place.n_experts) place.experts_off_card = -1;
  return place;
}

}  // namespace precis
