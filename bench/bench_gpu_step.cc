// bench_gpu_step: decode steps of the whole V4-Flash shape on one GPU, one JSON object a context.
//
// Weights are drawn and rows are random, so that a long context costs no prefill.  A layer has fewer
// routed experts than the released model, as 256 would not fit; a token reads as many bytes of them.
// The floor is the planner's bound of one step with the bandwidth that a device copy reaches here.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdio>
#include <span>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "precis/planner.h"

#include "base/clock.h"
#include "base/rng.h"
#include "bench/device_copy.h"
#include "commit.h"
#include "engine/engine_impl.h"
#include "engine/model_source.h"
#include "kv/kv_cache.h"
#include "model/model.h"

namespace precis::bench {
namespace {

constexpr int kChunkTokens = 64;

struct Flags {
  std::vector<std::int64_t> contexts = {8 << 10, 128 << 10, 1 << 20};
  int n_layers = 43;
  int n_experts = 64;
  int n_steps = 40;
  bool direct = false;
};

// The planner's bound of one step of one sequence.
Result<double> floor_s(std::int64_t context, double bytes_per_s) {
  PlanRequest request;
  request.model = "flash";
  request.contexts = {context};
  PRECIS_ASSIGN_OR_RETURN(request.hardware, find_hardware("h100"));
  request.hardware.bytes_per_s = bytes_per_s;
  PRECIS_ASSIGN_OR_RETURN(const Plan plan, make_plan(request));
  return plan.contexts.front().decode.seconds();
}

// Gives the rows of a page scales near 1.
void set_scales(const KvSpec& spec, const KvLayout& layout, std::span<std::byte> page) {
  const auto set_part = [&](int part, int n_rows, int data_bytes) {
    if (part < 0) return;
    const PagePart& place = layout.page_parts[static_cast<std::size_t>(part)];
    const std::int64_t n_code_bytes = std::int64_t{n_rows} * data_bytes;
    for (std::byte& scale : page.subspan(static_cast<std::size_t>(place.offset + n_code_bytes),
                                         static_cast<std::size_t>(place.n_bytes - n_code_bytes))) {
      scale = static_cast<std::byte>(0x7d + std::to_integer<int>(scale) % 3);
    }
  };
  for (const LayerKvLayout& layer : layout.layers) {
    set_part(layer.rows, layer.rows_per_page, spec.kv.data_bytes());
    set_part(layer.index_rows, layer.rows_per_page, spec.index.data_bytes());
  }
}

// A sequence that holds `context` random rows.
class Sequence {
 public:
  Sequence(Backend& backend, Model& model, std::int64_t context)
      : backend_(backend),
        model_(model),
        step_rows_(backend, model.kv_spec(), model.max_step_tokens()),
        pool_(backend, make_kv_layout(model.kv_spec()).page_bytes),
        cache_(backend, model.kv_spec(), pool_, step_rows_, context) {
    std::vector<std::uint64_t> words(std::size_t{4} << 20);
    // Codes below 2, so that nothing overflows on its way through the layers: without the top bit of an exponent, in
    // FP8, in BF16, and in the upper of two FP4 codes.
    for (std::size_t i = 0; i < words.size(); ++i) {
      words[i] = random_bits(3, i) & 0xBFBF'BFBF'BFBF'BFBFULL;
    }
    const auto bytes = std::as_bytes(std::span(words));
    const KvSpec spec = model.kv_spec();
    const KvLayout layout = make_kv_layout(spec);
    std::vector<std::byte> rows(static_cast<std::size_t>(layout.page_bytes));
    cache_.reserve(context);
    for (std::int64_t page = 0; page < cache_.n_pages(); ++page) {
      const std::size_t at = random_bits(4, page) % (bytes.size() - rows.size()) / 64 * 64;
      std::ranges::copy(bytes.subspan(at, rows.size()), rows.begin());
      set_scales(spec, layout, rows);
      cache_.copy_in_pages(page, rows);
    }
  }

  void start_at(std::int64_t n_tokens) { cache_.commit(n_tokens - cache_.n_tokens()); }

  double step() {
    const auto token = static_cast<std::int32_t>(cache_.n_tokens() % model_.config().vocab_size);
    const SequenceStep sequence{&cache_, {&token, 1}};
    const Clock::time_point start = Clock::now();
    model_.forward({&sequence, 1});
    const Mat<const float> row = model_.logits(0, 1);
    logits_.resize(static_cast<std::size_t>(row.cols));
    backend_.copy_out(std::as_writable_bytes(std::span(logits_)),
                      reinterpret_cast<const std::byte*>(row.data));
    return seconds_since(start);
  }
  // Whether the last step's logits are numbers: what is not takes other ways through some kernels.
  bool is_finite() const {
    return std::ranges::all_of(logits_, [](float logit) { return std::isfinite(logit); });
  }

 private:
  Backend& backend_;
  Model& model_;
  StepRows step_rows_;
  PagePool pool_;
  KvCache cache_;
  std::vector<float> logits_;
};

Result<void> run(const Flags& flags) {
  EngineOptions options;
  options.backend = "cuda";
  options.synthetic = SyntheticModel{"flash", flags.n_layers, flags.n_experts};
  options.max_tokens = *std::ranges::max_element(flags.contexts);
  if (flags.direct) options.launch = StepLaunch::kDirect;
  PRECIS_ASSIGN_OR_RETURN(const ModelConfig config, model_config(options));
  PRECIS_ASSIGN_OR_RETURN(LoadedModel loaded, load_model(options, config, kChunkTokens));
  const double bytes_per_s = copy_bytes_per_s(*loaded.backend);
  Sequence sequence(*loaded.backend, *loaded.model, options.max_tokens);
  for (const std::int64_t context : flags.contexts) {
    sequence.start_at(context - flags.n_steps - 4);
    std::vector<double> seconds;
    for (int i = 0; i < 3; ++i) sequence.step();  // runs, is recorded, is repeated
    for (int i = 0; i < flags.n_steps; ++i) seconds.push_back(sequence.step());
    std::ranges::sort(seconds);
    PRECIS_ASSIGN_OR_RETURN(const double floor, floor_s(context, bytes_per_s));
    const double median = seconds[seconds.size() / 2];
    const nlohmann::ordered_json line{
        {"op", "step"},
        {"shape", fmt::format("flash, {} layers, {} experts", flags.n_layers, flags.n_experts)},
        {"context", context},
        {"launch", flags.direct ? "direct" : "repeated"},
        {"median_us", 1e6 * median},
        {"p10_us", 1e6 * seconds[seconds.size() / 10]},
        {"floor_us", 1e6 * floor},
        {"of_floor", floor / median},
        {"logits_are_finite", sequence.is_finite()},
        {"device", loaded.needs.plan.device},
        {"copy_tb_per_s", bytes_per_s / 1e12},
        {"commit", kMeasuredCommit}};
    fmt::print("{}\n", line.dump());
    std::fflush(stdout);
  }
  return {};
}

int main_with(int argc, char** argv) {
  Flags flags;
  CLI::App app("bench_gpu_step times decode steps of the V4-Flash shape on one GPU.");
  app.add_option("--contexts", flags.contexts, "Ascending")->delimiter(',');
  app.add_option("--layers", flags.n_layers)->check(CLI::Range(3, 43))->capture_default_str();
  app.add_option("--experts", flags.n_experts)->check(CLI::Range(6, 256))->capture_default_str();
  app.add_option("--steps", flags.n_steps)->check(CLI::Range(1, 60))->capture_default_str();
  app.add_flag("--direct", flags.direct, "Launch every kernel by itself");
  CLI11_PARSE(app, argc, argv);
  const Result<void> done = run(flags);
  if (done.ok()) return 0;
  fmt::print(stderr, "bench_gpu_step: {}\n", done.error().message);
  return 1;
}

}  // namespace
}  // namespace precis::bench

int main(int argc, char** argv) {
  return precis::bench::main_with(argc, argv);
}
