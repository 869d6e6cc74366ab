// Where the time of a step goes: the model on a backend that times every operation.
#include <algorithm>
#include <array>
#include <optional>

#include <fmt/format.h>

#include "precis/bench.h"

#include "base/clock.h"
#include "base/threads.h"
#include "engine/bench_prompt.h"
#include "engine/bench_timed.h"
#include "engine/engine_impl.h"
#include "engine/model_source.h"
#include "kv/kv_cache.h"
#include "model/model.h"

namespace precis {
namespace {

void add(Profile& sum, const Profile& part) {
  sum.n_tokens += part.n_tokens;
  sum.seconds += part.seconds;
  for (const OpProfile& op : part.ops) {
    const auto same = std::ranges::find(sum.ops, op.op, &OpProfile::op);
    if (same == sum.ops.end()) {
      sum.ops.push_back(op);
      continue;
    }
    same->n_calls += op.n_calls;
    same->seconds += op.seconds;
    same->flop += op.flop;
    same->bytes += op.bytes;
    same->bound_s += op.bound_s;
  }
  std::ranges::sort(sum.ops, std::ranges::greater(), &OpProfile::seconds);
}

// One sequence on a timed model.
class TimedRun {
 public:
  TimedRun(LoadedModel& loaded, TimedBackend& timed, std::int64_t max_tokens)
      : timed_(timed),
        model_(*loaded.model),
        spec_(model_.kv_spec()),
        step_rows_(timed, spec_, model_.max_step_tokens()),
        pool_(timed, make_kv_layout(spec_).page_bytes),
        cache_(timed, spec_, pool_, step_rows_, max_tokens) {}

  std::int64_t position() const { return cache_.n_tokens(); }

  // One step with the logits of its last token, as a session runs it.
  Profile step(std::span<const TokenId> ids) {
    const auto n = static_cast<std::int64_t>(ids.size());
    const Clock::time_point start = Clock::now();
    cache_.reserve(n);
    const std::array<SequenceStep, 1> sequences{{{&cache_, ids}}};
    model_.forward(sequences);
    model_.logits(n - 1, 1);
    const double seconds = seconds_since(start);
    TimedBackend::Taken taken = timed_.take();
    return {n, seconds - taken.bookkeeping_s, std::move(taken.ops)};
  }

 private:
  TimedBackend& timed_;
  Model& model_;
  KvSpec spec_;
  StepRows step_rows_;
  PagePool pool_;
  KvCache cache_;
};

}  // namespace

Result<StepProfile> profile_step(const ProfileOptions& options,
                                 const std::optional<Machine>& machine,
                                 const ProgressFn& progress) {
  PRECIS_TRY(check_bench_counts(options.decode_steps, 1));
  PRECIS_ASSIGN_OR_RETURN(const ModelConfig config, model_config(options.engine));
  PRECIS_TRY(check_bench_context("context", options.context, config.max_position_embeddings));
  PRECIS_ASSIGN_OR_RETURN(const int chunk_tokens, resolve_chunk(options.engine.chunk_tokens));

  TimedBackend* timed = nullptr;
  const WrapBackend wrap = [&timed](std::unique_ptr<Backend> inner) {
    auto backend = std::make_unique<TimedBackend>(std::move(inner));
    timed = backend.get();
    return backend;
  };
  EngineOptions engine = options.engine;
  engine.max_tokens = options.context;
  PRECIS_ASSIGN_OR_RETURN(LoadedModel loaded, load_model(engine, config, chunk_tokens, wrap));
  StepProfile profile;
  profile.context = options.context;
  profile.chunk_tokens = chunk_tokens;
  profile.isa = timed->isa();
  profile.n_threads = loaded.threads->n_threads();
  // A machine's file knows the processor alone.
  if (timed->host_readable()) {
    PRECIS_ASSIGN_OR_RETURN(TimedBackend::PeakFn peaks,
                            peaks_of(machine, profile.isa, profile.n_threads));
    timed->judge_by(std::move(peaks));
  }

  const std::vector<TokenId> prompt =
      random_prompt(options.seed, options.context, static_cast<int>(config.vocab_size));
  const std::int64_t n_steps = std::min<std::int64_t>(options.decode_steps, options.context / 2);
  TimedRun run(loaded, *timed, options.context);
  while (run.position() < options.context) {
    const std::int64_t at = run.position();
    const std::int64_t n_prefill_left = options.context - n_steps - at;
    const std::int64_t n = std::clamp<std::int64_t>(n_prefill_left, 1, chunk_tokens);
    const Profile step = run.step(
        std::span(prompt).subspan(static_cast<std::size_t>(at), static_cast<std::size_t>(n)));
    add(n_prefill_left > 0 ? profile.prefill : profile.decode, step);
    if (n_prefill_left > 0 && (n == chunk_tokens || at == 0)) profile.last_chunk = step;
    if (progress && !progress({at + n, options.context})) {
      return Error{ErrorCode::kCancelled,
                   fmt::format("stopped after {} of {} tokens", at + n, options.context)};
    }
  }
  return profile;
}

}  // namespace precis
