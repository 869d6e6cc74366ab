// One layer of each attention under a clock: runs by lineage/, costs and bounds by ops/cost.h.
#include <algorithm>
#include <map>
#include <memory>
#include <utility>

#include <fmt/format.h>

#include "precis/lineage.h"

#include "backend/registry.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/threads.h"
#include "engine/bench_machine.h"
#include "engine/bench_timed.h"
#include "lineage/kinds.h"
#include "lineage/layer.h"

namespace precis {
namespace {

using Source = AttentionFigure::Source;

// A median of several runs where they are short; the first, which warms up, counts only where it
// is long enough for that not to matter.
constexpr double kLongRunSeconds = 1;
constexpr double kEnoughSeconds = 0.4;
constexpr int kMinRuns = 3;
constexpr int kMaxRuns = 25;
constexpr std::int64_t kLongestChunk = 4096;
// A chunk is cut to what one token's time lets expect in so long.
constexpr double kLongestChunkSeconds = 15;

Result<void> check_options(const AttentionBenchOptions& options) {
  if (options.kinds.empty()) return invalid("kinds: want at least one");
  for (const std::string& kind : options.kinds) {
    if (std::ranges::find(attention_kinds(), kind, &AttentionKind::name) !=
        attention_kinds().end()) {
      continue;
    }
    std::string names;
    for (const AttentionKind& known : attention_kinds()) {
      names += fmt::format("{}{}", names.empty() ? "" : ", ", known.name);
    }
    return invalid(fmt::format("kinds: want some of {}, found \"{}\"", names, kind));
  }
  if (options.contexts.empty()) return invalid("context: want at least one length");
  for (const std::int64_t context : options.contexts) {
    if (context < 1 || context > kMaxAttentionContext) {
      return invalid(
          fmt::format("context: want 1 … {} tokens, found {}", kMaxAttentionContext, context));
    }
  }
  if (options.chunk_tokens < 1 || options.chunk_tokens > kLongestChunk) {
    return invalid(
        fmt::format("tokens: want 1 … {}, found {}", kLongestChunk, options.chunk_tokens));
  }
  if (options.memory_bytes < kMinAttentionBytes) {
    return invalid(
        fmt::format("memory: want at least {} bytes, so that rows come from memory and "
                    "not from a cache, found {}",
                    kMinAttentionBytes, options.memory_bytes));
  }
  return {};
}

void add_share(const AttentionFigure& part, double share, AttentionFigure& sum) {
  sum.seconds += share * part.seconds;
  sum.flop += share * part.flop;
  sum.bytes += share * part.bytes;
  sum.bound_s += share * part.bound_s;
  if (part.source == Source::kRunReused) sum.source = Source::kRunReused;
}

class AttentionBencher {
 public:
  AttentionBencher(const AttentionBenchOptions& options, TimedBackend& backend,
                   TimedBackend::PeakFn peak, const MeasureFn& on_measure)
      : options_(options), backend_(backend), peak_(std::move(peak)), on_measure_(on_measure) {}

  std::vector<AttentionFigure> figures_of(const std::string& kind, std::int64_t context);

 private:
  AttentionFigure new_figure(const std::string& kind, std::int64_t context,
                             std::int64_t n_tokens) const;
  std::vector<AttentionFigure> run(const std::string& kind, std::int64_t context);
  std::vector<AttentionFigure> mix(std::int64_t context);
  AttentionFigure compute(const std::string& kind, std::int64_t context, std::int64_t n_tokens);
  static std::int64_t affordable(std::int64_t n_tokens, const AttentionFigure& one_token);
  void time(AttentionLayer& layer, AttentionFigure& figure);
  double time_once(AttentionLayer& layer, AttentionFigure& figure);

  std::vector<std::int64_t> step_lengths(std::int64_t context) const {
    return {1, std::min(options_.chunk_tokens, context)};
  }

  const AttentionBenchOptions& options_;
  TimedBackend& backend_;
  TimedBackend::PeakFn peak_;
  const MeasureFn& on_measure_;
  // V4's mean is made of layers that may have been asked for as well.
  std::map<std::pair<std::string, std::int64_t>, std::vector<AttentionFigure>> done_;
};

AttentionFigure AttentionBencher::new_figure(const std::string& kind, std::int64_t context,
                                             std::int64_t n_tokens) const {
  const CacheSize cache = cache_size(kind, options_.shape);
  return {.kind = kind,
          .context = context,
          .n_tokens = n_tokens,
          .cache_bytes_per_token = cache.per_token,
          .cache_bytes = cache.at(context)};
}

double AttentionBencher::time_once(AttentionLayer& layer, AttentionFigure& figure) {
  const Clock::time_point start = Clock::now();
  layer.run(backend_);
  const double wall_s = seconds_since(start);
  const TimedBackend::Taken taken = backend_.take();
  figure.flop = figure.bytes = figure.bound_s = 0;
  for (const OpProfile& op : taken.ops) {
    figure.flop += op.flop;
    figure.bytes += op.bytes;
    figure.bound_s += op.bound_s;
  }
  ++figure.n_runs;
  return wall_s - taken.bookkeeping_s;
}

void AttentionBencher::time(AttentionLayer& layer, AttentionFigure& figure) {
  figure.seconds = time_once(layer, figure);
  if (figure.seconds >= kLongRunSeconds) return;
  std::vector<double> seconds;
  double sum = 0;
  while (std::ssize(seconds) < kMaxRuns &&
         (sum < kEnoughSeconds || std::ssize(seconds) < kMinRuns)) {
    seconds.push_back(time_once(layer, figure));
    sum += seconds.back();
  }
  figure.n_runs = static_cast<int>(seconds.size());
  std::ranges::sort(seconds);
  figure.seconds = seconds[seconds.size() / 2];
}

// As many of n_tokens as fit the time; 0 where that is one, which is measured already.
std::int64_t AttentionBencher::affordable(std::int64_t n_tokens, const AttentionFigure& one_token) {
  const double n_fit = kLongestChunkSeconds / one_token.seconds;
  if (n_fit >= static_cast<double>(n_tokens)) return n_tokens;
  return n_fit < 2 ? 0 : static_cast<std::int64_t>(n_fit);
}

std::vector<AttentionFigure> AttentionBencher::run(const std::string& kind, std::int64_t context) {
  if (on_measure_) on_measure_(fmt::format("{} at {} tokens", kind, context));
  const std::vector<std::int64_t> lengths = step_lengths(context);
  const auto layer = make_attention_layer(
      kind, options_.shape, {context, lengths.back(), options_.memory_bytes, options_.seed});
  std::vector<AttentionFigure> figures;
  for (const std::int64_t wanted : lengths) {
    const std::int64_t n_tokens = figures.empty() ? wanted : affordable(wanted, figures.front());
    if (n_tokens == 0) continue;
    AttentionFigure figure = new_figure(kind, context, n_tokens);
    figure.source = layer->reuses_rows() ? Source::kRunReused : Source::kRun;
    layer->prepare(n_tokens);
    time(*layer, figure);
    figures.push_back(std::move(figure));
  }
  return figures;
}

AttentionFigure AttentionBencher::compute(const std::string& kind, std::int64_t context,
                                          std::int64_t n_tokens) {
  AttentionFigure figure = new_figure(kind, context, n_tokens);
  figure.source = Source::kComputed;
  const Cost cost = formula_cost(kind, options_.shape, n_tokens);
  figure.flop = cost.flop.total();
  figure.bytes = cost.bytes;
  if (peak_) figure.bound_s = bound_s(cost, peak_(cost.bytes));
  return figure;
}

std::vector<AttentionFigure> AttentionBencher::mix(std::int64_t context) {
  const AttentionShape& shape = options_.shape;
  const std::pair<const char*, int> parts[] = {{"swa", shape.n_window_layers},
                                               {"csa", shape.n_sparse_layers},
                                               {"hca", shape.n_heavy_layers}};
  const double n_layers = shape.n_window_layers + shape.n_sparse_layers + shape.n_heavy_layers;
  std::vector<AttentionFigure> figures;
  for (const auto& [kind, n] : parts) {
    if (n == 0) continue;
    const std::vector<AttentionFigure> part = figures_of(kind, context);
    if (figures.empty()) {
      for (const AttentionFigure& step : part) {
        figures.push_back(new_figure("v4", context, step.n_tokens));
        figures.back().n_runs = step.n_runs;
      }
    }
    // Only steps of the same length have a mean.
    figures.resize(std::min(figures.size(), part.size()));
    if (figures.back().n_tokens != part[figures.size() - 1].n_tokens) figures.pop_back();
    for (std::size_t i = 0; i < figures.size(); ++i) add_share(part[i], n / n_layers, figures[i]);
  }
  return figures;
}

std::vector<AttentionFigure> AttentionBencher::figures_of(const std::string& kind,
                                                          std::int64_t context) {
  const std::pair key(kind, context);
  if (const auto known = done_.find(key); known != done_.end()) return known->second;
  std::vector<AttentionFigure> figures;
  if (!std::ranges::find(attention_kinds(), kind, &AttentionKind::name)->runs) {
    for (const std::int64_t n_tokens : step_lengths(context)) {
      figures.push_back(compute(kind, context, n_tokens));
    }
  } else {
    figures = kind == "v4" ? mix(context) : run(kind, context);
  }
  done_.emplace(key, figures);
  return figures;
}

}  // namespace

std::string_view source_name(AttentionFigure::Source source) {
  switch (source) {
    case Source::kRun: return "run";
    case Source::kRunReused: return "run, rows reused";
    case Source::kComputed: return "computed";
  }
  return "";
}

Result<AttentionBench> bench_attention(const AttentionBenchOptions& options,
                                       const std::optional<Machine>& machine,
                                       const MeasureFn& on_measure) {
  PRECIS_TRY(check_options(options));
  ThreadPool threads(options.n_threads > 0 ? options.n_threads : n_available_processors());
  if (options.backend == "cuda") {
    return Error{
        ErrorCode::kUnsupported,
        "backend: want cpu or ref, as rows and queries are made in host memory, found cuda "
        "(bench/gpu.sh measures attention there)"};
  }
  const std::string name = options.backend == "auto" ? "cpu" : options.backend;
  PRECIS_ASSIGN_OR_RETURN(std::unique_ptr<Backend> inner, make_backend(name, threads));
  TimedBackend backend(std::move(inner));

  AttentionBench bench;
  bench.shape = options.shape;
  bench.backend = backend.name();
  bench.isa = backend.isa();
  bench.n_threads = threads.n_threads();
  PRECIS_ASSIGN_OR_RETURN(const TimedBackend::PeakFn peak,
                          peaks_of(machine, bench.isa, bench.n_threads));
  backend.judge_by(peak);
  AttentionBencher bencher(options, backend, peak, on_measure);
  for (const std::string& kind : options.kinds) {
    for (const std::int64_t context : options.contexts) {
      const std::vector<AttentionFigure> figures = bencher.figures_of(kind, context);
      bench.figures.insert(bench.figures.end(), figures.begin(), figures.end());
    }
  }
  return bench;
}

}  // namespace precis
