// The cost of a model before it runs: weights, cache, arithmetic and time at given contexts on given
// hardware, and how they compare with the attention that V4 came from.
//
// Everything is computed from shapes; nothing is loaded and nothing is run.  Times are bounds: no
// implementation can be faster on hardware with these peaks.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "precis/plan.h"
#include "precis/status.h"

namespace precis {

/// Where a number comes from.
enum class NumberClass : std::uint8_t {
  kDatasheet,  // the vendor's promise
  kMeasured,   // a run on that machine
};
std::string_view number_class_name(NumberClass number_class);  // "datasheet", "measured"

/// What one device does at most.
struct Hardware {
  std::string name;
  std::string source;
  NumberClass number_class = NumberClass::kDatasheet;
  double memory_bytes = 0;
  double bytes_per_s = 0;
  double fp8_flop_per_s = 0;    // also FP8 times FP4: the codes of FP4 are numbers of FP8
  double bf16_flop_per_s = 0;   // dense, f32 sums
  double f32_flop_per_s = 0;    // also element-wise work
  double index_flop_per_s = 0;  // products of two FP4 codes
};

/// The built-in table.
std::span<const Hardware> known_hardware();

/// Errors    kNotFound — not in the table; the message lists what is
Result<Hardware> find_hardware(std::string_view name);

/// A JSON object with the fields of Hardware; the class is "measured" unless it says otherwise.
///
/// Errors    kNotFound — no such file; kCorrupt — naming the field, what was wanted and found
Result<Hardware> read_hardware(const std::filesystem::path& path);

/// Operations of one kind by the class of their operands.
struct FlopByClass {
  double fp8 = 0;      // e4m3 times e4m3
  double fp4 = 0;      // e4m3 times e2m1
  double bf16 = 0;     // bf16 times bf16, attention included
  double f32 = 0;      // f32 times f32
  double index = 0;    // index scores
  double element = 0;  // no product: norms, mixing, softmax of the compressors

  double products() const { return fp8 + fp4 + bf16 + f32 + index; }
  FlopByClass& operator+=(const FlopByClass& other);
};

/// One part of the network during one phase.
struct PartPlan {
  std::string part;  // "experts", "index scores", …
  FlopByClass flop;
  double equivalent_flop = 0;  // FP8 equivalents by used_definition()
  double bytes = 0;            // compulsory
  double seconds = 0;          // at least
};

struct PhasePlan {
  std::vector<PartPlan> parts;

  FlopByClass flop() const;
  double equivalent_flop() const;
  double bytes() const;
  double seconds() const;  // one part after the other
};

/// A rule by which FLOP of different precision are added up: what one FLOP of each class counts.
struct FlopDefinition {
  std::string name;
  double fp8 = 1;
  double fp4 = 1;
  double bf16 = 2;       // and f32
  double attention = 2;  // the attention core
  double index = 0.5;    // index scores over FP4 keys
  double wo_a = 1;       // stored in FP8, multiplied in bf16
};

/// FP8 = 1, BF16 = F32 = 2, FP4 × FP4 = ½, attention core in BF16: the rule that gives the published
/// 27 % and 10 %.
const FlopDefinition& used_definition();
/// Other rules that the words "equivalent FP8 FLOP" allow.
std::span<const FlopDefinition> other_definitions();

struct WeightPart {
  std::string part;
  std::int64_t n_bytes = 0;
};

struct WeightPlan {
  bool exact = false;          // every tensor is known; else products alone, norms and scales aside
  std::int64_t n_tensors = 0;  // 0 unless exact
  std::int64_t n_bytes = 0;
  std::int64_t draft_bytes = 0;          // of these, what only speculative decoding needs
  std::int64_t routed_expert_bytes = 0;  // of these, in the main layers
  std::vector<WeightPart> parts;
};

/// Another design for the same tokens: its work and its cache beside this model's.
struct Comparison {
  std::string model;
  std::string assumption;
  double flop_share = 0;  // this model's equivalent FLOP of a decoded token, relative to it
  std::vector<double> other_flop_shares;  // the same by each of other_definitions()
  double cache_factor = 0;  // how many times as large its cache is; row formats as released
  double cache_bytes = 0;   // of its rows and windows
  double cache_bf16_bytes = 0;
};

/// Whether weights and caches fit, and each single change that would make them.
struct Placement {
  double needed_bytes = 0;
  double usable_bytes = 0;
  bool fits = false;
  std::int64_t n_gpus_needed = 0;
  std::int64_t max_batch = 0;         // at this context; 0 = not even one
  std::int64_t max_context = 0;       // at this batch; 0 = none
  std::int64_t experts_off_card = 0;  // a layer, in host memory; −1 = not enough
  std::int64_t n_experts = 0;
};

/// Everything about one context length.
struct ContextPlan {
  std::int64_t n_tokens = 0;
  KvBytes kv;                         // one request, row formats as released
  double kv_bf16_bytes = 0;           // compressed rows alone, if every number were bf16
  PhasePlan decode;                   // one step of the whole batch
  PhasePlan prefill;                  // of one request, from an empty cache
  double decode_equivalent_flop = 0;  // of one token of one request
  double decode_tok_per_s = 0;        // of the batch, at most
  double prefill_tok_per_s = 0;       // at most
  Placement placement;
  std::vector<Comparison> comparisons;
};

struct PlanRequest {
  std::string model;  // a name of model_names(), or a directory with config.json
  std::vector<std::int64_t> contexts;
  std::int64_t batch = 1;
  std::int64_t chunk_tokens = 8192;  // of a prefill step
  Hardware hardware;
  int n_gpus = 1;
};

struct Plan {
  std::string model;
  std::string source;  // where the shapes come from
  WeightPlan weights;
  double kv_bytes_per_token = 0;
  std::vector<ContextPlan> contexts;
};

/// The models whose shapes are built in.
std::vector<std::string> model_names();

/// Plans one model.
///
/// Errors    kNotFound, kCorrupt, kUnsupported — the model; kInvalidArgument — no context, one that
///           is not positive or beyond the model's limit, batch, chunk or n_gpus below 1
/// Cost      milliseconds
/// Source    docs/planner.md
Result<Plan> make_plan(const PlanRequest& request);

/// Prices of one million tokens, in any currency.
struct TokenPrices {
  double input = 0;
  double cached = 0;  // input that a prefix cache holds
  double output = 0;
  double embedding = 0;
};

/// Questions to one document, with the whole of it in context or with retrieved passages.
struct DocumentUse {
  std::int64_t document_tokens = 0;
  std::int64_t n_questions = 1;
  std::int64_t question_tokens = 100;
  std::int64_t answer_tokens = 300;
  std::int64_t n_passages = 20;  // retrieved for a question
  std::int64_t passage_tokens = 512;
};

struct DocumentCost {
  double long_context = 0;       // the document is read once and cached for the other questions
  double uncached = 0;           // the same without a prefix cache
  double retrieval = 0;          // the document is embedded once
  double per_question_long = 0;  // of each further question
  double per_question_retrieval = 0;
  /// The questions from which long context costs no more than retrieval; nullopt = never.
  std::optional<double> break_even_questions;
};

/// Errors    kInvalidArgument — a count below 0, no question, or a price below 0
Result<DocumentCost> document_cost(const DocumentUse& use, const TokenPrices& prices);

}  // namespace precis
