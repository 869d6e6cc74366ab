// Puts a plan together: work from the model, rates from the hardware, predecessors beside both.
#include "precis/planner.h"

#include <algorithm>
#include <array>
#include <utility>

#include <fmt/format.h>

#include "ops/cost.h"
#include "plan/definition.h"
#include "plan/placement.h"
#include "plan/planned_model.h"
#include "plan/released_models.h"

namespace precis {
namespace {

Peak peak_of(const Hardware& hardware, int n_gpus) {
  const double n = n_gpus;
  return {.fp8_flop_per_s = n * hardware.fp8_flop_per_s,
          .fp4_flop_per_s = n * hardware.fp8_flop_per_s,
          .bf16_flop_per_s = n * hardware.bf16_flop_per_s,
          .f32_flop_per_s = n * hardware.f32_flop_per_s,
          .int8_flop_per_s = n * hardware.index_flop_per_s,
          .bytes_per_s = n * hardware.bytes_per_s};
}

PhasePlan phase_of(const Work& work, const Peak& peak) {
  PhasePlan phase;
  for (std::size_t i = 0; i < kNParts; ++i) {
    const auto part = static_cast<Part>(i);
    const Cost& cost = work[part];
    if (cost.flop.total() == 0 && cost.bytes == 0) continue;
    phase.parts.push_back({std::string(part_name(part)), by_class(cost.flop),
                           equivalent_flop(part, cost.flop, used_definition()), cost.bytes,
                           bound_s(cost, peak)});
  }
  return phase;
}

// What a cache must hold however long the step: rows and windows.  Compressor states are left out
// on both sides, as in the published ratios.
double row_bytes(const KvBytes& kv) {
  return static_cast<double>(kv.growing() + kv.window);
}

// The part of the work that a dense layer would not have.
double attention_flop(const Work& work, const FlopDefinition& definition) {
  double sum = 0;
  for (const Part part :
       {Part::kCompressors, Part::kIndexer, Part::kIndexScores, Part::kAttentionWindow,
        Part::kAttentionSparse, Part::kAttentionHeavy, Part::kAttentionDense}) {
    sum += equivalent_flop(part, work[part].flop, definition);
  }
  return sum;
}

struct Predecessor {
  const char* name;
  const char* title;
  const char* assumption;
};
constexpr std::array<Predecessor, 2> kPredecessors{{
    {"v3.2", "DeepSeek-V3.2", "656-byte rows and 132-byte index keys"},
    {"v3", "DeepSeek-V3 (MLA, dense)", "1,152-byte bf16 rows, every position read"},
}};

// The shares by every definition, from a function of one.
template <typename Share>
void set_flop_shares(const Share& share, Comparison& comparison) {
  comparison.flop_share = share(used_definition());
  for (const FlopDefinition& definition : other_definitions()) {
    comparison.other_flop_shares.push_back(share(definition));
  }
}

Comparison compare_dense(const PlannedModel& model, const Work& own, std::int64_t n_tokens) {
  constexpr double kKvHeads = 8;
  constexpr double kHeadDim = 128;
  constexpr double kBf16Bytes = 2;
  const double layer_tokens = static_cast<double>(n_tokens) * model.n_layers();
  Comparison comparison;
  comparison.model = "dense GQA";
  comparison.assumption =
      "this network with 8 KV heads of 128 in bf16 and as many query heads, every position read";
  comparison.cache_bytes = comparison.cache_bf16_bytes =
      layer_tokens * 2 * kKvHeads * kHeadDim * kBf16Bytes;
  set_flop_shares(
      [&](const FlopDefinition& definition) {
        const double core = definition.attention * 4 * model.n_heads() * kHeadDim * layer_tokens;
        const double total = equivalent_flop(own, definition);
        return total / (total - attention_flop(own, definition) + core);
      },
      comparison);
  return comparison;
}

Result<std::vector<Comparison>> compare(const PlannedModel& model, std::int64_t n_tokens) {
  const Work own = model.decode(1, n_tokens);
  std::vector<Comparison> comparisons;
  for (const Predecessor& predecessor : kPredecessors) {
    PRECIS_ASSIGN_OR_RETURN(const NamedModel other, find_planned_model(predecessor.name));
    const Work its = other.model->decode(1, n_tokens);
    Comparison comparison;
    comparison.model = predecessor.title;
    comparison.assumption = predecessor.assumption;
    comparison.cache_bytes = row_bytes(other.model->kv(n_tokens));
    comparison.cache_bf16_bytes =
        other.model->kv_bf16_bytes_per_token() * static_cast<double>(n_tokens);
    set_flop_shares(
        [&](const FlopDefinition& definition) {
          return equivalent_flop(own, definition) / equivalent_flop(its, definition);
        },
        comparison);
    comparisons.push_back(std::move(comparison));
  }
  comparisons.push_back(compare_dense(model, own, n_tokens));
  for (Comparison& comparison : comparisons) {
    comparison.cache_factor = comparison.cache_bytes / row_bytes(model.kv(n_tokens));
  }
  return comparisons;
}

Result<void> check(const PlanRequest& request, const PlannedModel& model) {
  constexpr std::int64_t kMaxBatch = 1 << 20;
  constexpr std::int64_t kMinChunk = 128;
  constexpr int kMaxGpus = 1 << 16;
  const auto in_range = [](const char* name, std::int64_t low, std::int64_t high,
                           std::int64_t found) -> Result<void> {
    if (found >= low && found <= high) return {};
    return Error{ErrorCode::kInvalidArgument,
                 fmt::format("{}: want {} … {}, found {}", name, low, high, found)};
  };
  if (request.contexts.empty()) {
    return Error{ErrorCode::kInvalidArgument, "ctx: want at least one context, found none"};
  }
  const std::int64_t limit = model.max_context() > 0 ? model.max_context() : kMaxContext;
  for (const std::int64_t n_tokens : request.contexts) {
    PRECIS_TRY(in_range("ctx", 1, limit, n_tokens));
  }
  PRECIS_TRY(in_range("batch", 1, kMaxBatch, request.batch));
  PRECIS_TRY(in_range("chunk", kMinChunk, kMaxContext, request.chunk_tokens));
  return in_range("gpus", 1, kMaxGpus, request.n_gpus);
}

Result<ContextPlan> plan_context(const PlanRequest& request, const PlannedModel& model,
                                 const WeightPlan& weights, std::int64_t n_tokens) {
  const Peak peak = peak_of(request.hardware, request.n_gpus);
  ContextPlan plan;
  plan.n_tokens = n_tokens;
  plan.kv = model.kv(n_tokens);
  plan.kv_bf16_bytes = model.kv_bf16_bytes_per_token() * static_cast<double>(n_tokens);
  plan.decode = phase_of(model.decode(request.batch, n_tokens), peak);
  plan.prefill = phase_of(model.prefill(n_tokens, request.chunk_tokens), peak);
  plan.decode_equivalent_flop = plan.decode.equivalent_flop() / static_cast<double>(request.batch);
  plan.decode_tok_per_s = static_cast<double>(request.batch) / plan.decode.seconds();
  plan.prefill_tok_per_s = static_cast<double>(n_tokens) / plan.prefill.seconds();
  plan.placement = place(model, weights, n_tokens, request.batch, request.hardware, request.n_gpus);
  PRECIS_ASSIGN_OR_RETURN(plan.comparisons, compare(model, n_tokens));
  return plan;
}

}  // namespace

FlopByClass& FlopByClass::operator+=(const FlopByClass& other) {
  fp8 += other.fp8;
  fp4 += other.fp4;
  bf16 += other.bf16;
  f32 += other.f32;
  index += other.index;
  element += other.element;
  return *this;
}

FlopByClass PhasePlan::flop() const {
  FlopByClass sum;
  for (const PartPlan& part : parts) sum += part.flop;
  return sum;
}

double PhasePlan::equivalent_flop() const {
  double sum = 0;
  for (const PartPlan& part : parts) sum += part.equivalent_flop;
  return sum;
}

double PhasePlan::bytes() const {
  double sum = 0;
  for (const PartPlan& part : parts) sum += part.bytes;
  return sum;
}

double PhasePlan::seconds() const {
  double sum = 0;
  for (const PartPlan& part : parts) sum += part.seconds;
  return sum;
}

std::vector<std::string> model_names() {
  return released_model_names();
}

Result<Plan> make_plan(const PlanRequest& request) {
  PRECIS_ASSIGN_OR_RETURN(const NamedModel named, find_planned_model(request.model));
  PRECIS_TRY(check(request, *named.model));
  Plan plan;
  plan.model = named.name;
  plan.source = named.source;
  plan.weights = named.model->weights();
  plan.kv_bytes_per_token = named.model->kv_bytes_per_token();
  for (const std::int64_t n_tokens : request.contexts) {
    PRECIS_ASSIGN_OR_RETURN(ContextPlan context,
                            plan_context(request, *named.model, plan.weights, n_tokens));
    plan.contexts.push_back(std::move(context));
  }
  return plan;
}

}  // namespace precis
