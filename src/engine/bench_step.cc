// Speeds at context frontiers, measured through the public Session: what a caller gets.
//
// Just before each frontier a few prefill chunks are timed together and then single steps one by
// one, so that the last token of the steps is the frontier's.  Nothing is measured twice and the
// session never goes back.
//
// A processor that others use may be twice as fast a minute later, so a second session stays at the
// first frontier and steps in turn with the long one: their ratio is of the same minutes.  A device whose
// memory the long session takes has no room for it, and keeps what was measured at the first frontier.
#include <algorithm>

#include <fmt/format.h>

#include "precis/bench.h"
#include "precis/host.h"

#include "base/clock.h"
#include "engine/bench_prompt.h"
#include "engine/engine_impl.h"
#include "engine/model_source.h"
#include "model/config.h"

namespace precis {
namespace {

Result<void> check_options(const StepBenchOptions& options, std::int64_t max_positions) {
  PRECIS_TRY(check_bench_counts(options.decode_steps, options.prefill_chunks));
  if (options.frontiers.empty()) {
    return Error{ErrorCode::kInvalidArgument, "frontiers: want at least one context length"};
  }
  for (std::size_t i = 0; i < options.frontiers.size(); ++i) {
    const std::int64_t frontier = options.frontiers[i];
    PRECIS_TRY(check_bench_context("frontiers", frontier, max_positions));
    if (i > 0 && frontier < options.frontiers[i - 1] + kMinFrontierTokens) {
      return Error{ErrorCode::kInvalidArgument,
                   fmt::format("frontiers: want ascending lengths at least {} tokens apart, found "
                               "{} after {}",
                               kMinFrontierTokens, frontier, options.frontiers[i - 1])};
    }
  }
  return {};
}

// Enough that few steps of a turn find the caches full of the other session's rows.
constexpr std::int64_t kStepsOfTurn = 8;

// The value below which a share of the sorted times lies.
double quantile(const std::vector<double>& sorted, double share) {
  return sorted[static_cast<std::size_t>(share * static_cast<double>(sorted.size() - 1))];
}

// One session on its way through the frontiers, and one that stays at the first.
class Run {
 public:
  Run(Engine& engine, Session& session, const StepBenchOptions& options, int chunk_tokens,
      const ProgressFn& progress)
      : engine_(engine),
        session_(session),
        options_(options),
        chunk_tokens_(chunk_tokens),
        progress_(progress),
        prompt_(random_prompt(options.seed, options.frontiers.back(), engine.info().vocab_size)) {}

  Result<FrontierSpeed> measure(std::int64_t frontier) {
    // Close frontiers leave less room for timing; half of it goes to single steps at most.
    const std::int64_t n_new = frontier - session_.position();
    const std::int64_t n_steps = std::min<std::int64_t>(options_.decode_steps, n_new / 2);
    const std::int64_t n_prefill = std::min<std::int64_t>(
        std::int64_t{options_.prefill_chunks} * chunk_tokens_, n_new - n_steps);
    FrontierSpeed speed;
    speed.n_tokens = frontier;
    speed.n_prefill_timed = n_prefill;
    PRECIS_TRY(prefill(frontier - n_steps - n_prefill));
    PRECIS_ASSIGN_OR_RETURN(const double seconds, prefill(frontier - n_steps));
    speed.prefill_tok_per_s = static_cast<double>(n_prefill) / seconds;
    speed.prefill_total_s = prefill_total_s_;
    if (frontier != options_.frontiers.front()) PRECIS_TRY(open_first());
    PRECIS_TRY(decode(frontier, speed));
    const ProcessMemory memory = process_memory();
    speed.resident_bytes = memory.resident_bytes;
    speed.peak_resident_bytes = memory.peak_resident_bytes;
    speed.kv_bytes = session_.stats().kv_bytes;
    speed.kv_planned = engine_.plan(frontier).kv;
    return speed;
  }

 private:
  // Computes the prompt up to position `end`; gives the seconds it took.
  Result<double> prefill(std::int64_t end) {
    if (end <= session_.position()) return 0.0;
    const std::int64_t done = session_.position();
    const ProgressFn shown = [&](const Progress& progress) {
      return !progress_ || progress_({done + progress.done_tokens, options_.frontiers.back()});
    };
    const Clock::time_point start = Clock::now();
    PRECIS_TRY(session_.sync(std::span(prompt_).first(static_cast<std::size_t>(end)), shown));
    const double seconds = seconds_since(start);
    prefill_total_s_ += seconds;
    return seconds;
  }

  // The session that stays: as long as the other was at the first frontier.
  Result<void> open_first() {
    if (first_) return {};
    Result<std::unique_ptr<Session>> opened = engine_.new_session();
    if (!opened && opened.error().code == ErrorCode::kBudget) return {};
    PRECIS_ASSIGN_OR_RETURN(first_, std::move(opened));
    const auto n_tokens = static_cast<std::size_t>(options_.frontiers.front());
    // What is shown stays where the long session is, which may be stopped meanwhile.
    const ProgressFn shown = [&](const Progress&) {
      return !progress_ || progress_({session_.position(), options_.frontiers.back()});
    };
    return first_->sync(std::span(prompt_).first(n_tokens), shown);
  }

  // Single steps over the prompt's own tokens: the timeline goes on as if they were prefilled.
  Result<void> steps(Session& session, std::int64_t end, std::vector<double>& seconds) {
    while (session.position() < end) {
      const Clock::time_point start = Clock::now();
      PRECIS_TRY(session.step(prompt_[static_cast<std::size_t>(session.position())]));
      seconds.push_back(seconds_since(start));
    }
    return {};
  }

  Result<void> decode(std::int64_t end, FrontierSpeed& speed) {
    std::vector<double> seconds;
    std::vector<double> first_seconds;
    while (session_.position() < end) {
      const std::int64_t n = std::min(kStepsOfTurn, end - session_.position());
      PRECIS_TRY(steps(session_, session_.position() + n, seconds));
      if (first_) PRECIS_TRY(steps(*first_, first_->position() + n, first_seconds));
    }
    std::ranges::sort(seconds);
    speed.n_decode_timed = static_cast<int>(seconds.size());
    speed.decode_p10_s = quantile(seconds, 0.1);
    speed.decode_median_s = quantile(seconds, 0.5);
    speed.decode_p90_s = quantile(seconds, 0.9);
    std::ranges::sort(first_seconds);
    if (first_) first_median_s_ = quantile(first_seconds, 0.5);
    if (end == options_.frontiers.front()) first_median_s_ = speed.decode_median_s;
    speed.first_decode_median_s = first_median_s_;
    return {};
  }

  Engine& engine_;
  Session& session_;
  std::unique_ptr<Session> first_;  // from the second frontier on
  double first_median_s_ = 0;       // of a step at the first frontier, as last measured
  const StepBenchOptions& options_;
  int chunk_tokens_;
  const ProgressFn& progress_;
  std::vector<TokenId> prompt_;
  double prefill_total_s_ = 0;
};

}  // namespace

Result<StepBench> bench_step(const StepBenchOptions& options, const ProgressFn& progress,
                             const FrontierFn& on_frontier) {
  PRECIS_ASSIGN_OR_RETURN(const ModelConfig config, model_config(options.engine));
  PRECIS_TRY(check_options(options, config.max_position_embeddings));
  EngineOptions engine_options = options.engine;
  engine_options.max_tokens = options.frontiers.back();
  PRECIS_ASSIGN_OR_RETURN(const std::unique_ptr<Engine> engine, Engine::open(engine_options));
  PRECIS_ASSIGN_OR_RETURN(const std::unique_ptr<Session> session, engine->new_session());

  StepBench bench;
  bench.model = engine->info();
  bench.plan = engine->plan(options.frontiers.back());
  bench.kv_bytes_per_token = kv_bytes_per_token(engine->impl().model().kv_spec());
  bench.chunk_tokens = static_cast<int>(engine->impl().model().max_step_tokens());
  Run run(*engine, *session, options, bench.chunk_tokens, progress);
  for (const std::int64_t frontier : options.frontiers) {
    PRECIS_ASSIGN_OR_RETURN(const FrontierSpeed speed, run.measure(frontier));
    bench.speeds.push_back(speed);
    if (on_frontier) on_frontier(speed);
  }
  return bench;
}

}  // namespace precis
