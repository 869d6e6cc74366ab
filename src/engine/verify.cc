#include "precis/verify.h"

#include <algorithm>
#include <array>
#include <limits>
#include <numeric>

#include <fmt/format.h>

#include "engine/compare.h"
#include "engine/engine_impl.h"
#include "engine/expected.h"
#include "tensor/rows.h"

namespace precis {
namespace {

// What the oracle itself can promise end to end, with a factor of three: a relative change of 10⁻⁷
// in the embedding moves FP8 logits by 4 % in the median (6 % of the arg-maxes, up to 12 % of the
// selected rows) and BF16 logits by 3·10⁻⁴ (0.3 %, 1 %).  Source: docs/numerics.md.
struct EndToEndLimits {
  double logits_rel;
  double argmax_agree;
  double topk_overlap;
};
constexpr EndToEndLimits kQuantisedLimits{3 * 0.04, 1 - 3 * 0.06, 1 - 3 * 0.12};
constexpr EndToEndLimits kBf16Limits{3 * 3e-4, 1 - 3 * 0.003, 1 - 3 * 0.01};

// One run of the model over the expected tokens: prefill in chunks, then single steps.
class Run {
 public:
  Run(LoadedModel& loaded, const Expected& expected, const VerifyOptions& options)
      : model_(*loaded.model),
        backend_(*loaded.backend),
        expected_(expected),
        chunk_(options.chunk_tokens > 0 ? options.chunk_tokens : expected.n_prefill),
        spec_(model_.kv_spec()),
        step_rows_(backend_, spec_, model_.max_step_tokens()),
        pool_(backend_, make_kv_layout(spec_).page_bytes) {}

  Result<void> end_to_end(VerifyReport& report);
  Result<void> layer(int layer, VerifyReport& report);
  Result<void> mtp(VerifyReport& report);

 private:
  std::int64_t next_step(std::int64_t at, std::int64_t n_prefill) const {
    return at < n_prefill ? std::min(chunk_, n_prefill - at) : 1;
  }
  std::unique_ptr<KvCache> new_cache() {
    auto cache =
        std::make_unique<KvCache>(backend_, spec_, pool_, step_rows_, expected_.n_tokens());
    return cache;
  }
  Mat<float> read(std::vector<float>& host, const float* device, std::int64_t rows,
                  std::int64_t cols) {
    host.resize(static_cast<std::size_t>(rows * cols));
    backend_.copy_out(std::as_writable_bytes(std::span(host)),
                      reinterpret_cast<const std::byte*>(device));
    return {host.data(), rows, cols};
  }
  template <typename T>
  T read(const T* device) {
    T value;
    backend_.copy_out(std::as_writable_bytes(std::span(&value, 1)),
                      reinterpret_cast<const std::byte*>(device));
    return value;
  }
  std::vector<float> read_device_row(const RowPool& pool, std::int64_t row,
                                     const IndexRowFormat& format);
  double index_score(const SelectArgs& args, std::int64_t token, std::int32_t row);
  // Collects the selections of a step behind `begin`.
  StepObserver collect(std::vector<SelectionOverlap>& overlaps, std::int64_t begin);
  Result<void> compare_rows(const KvCache& cache, int layer, LayerVerify& out);

  Model& model_;
  Backend& backend_;
  const Expected& expected_;
  std::int64_t chunk_;
  KvSpec spec_;
  StepRows step_rows_;
  PagePool pool_;
};

// A row of the backend's memory, by way of a pool of that row alone.
std::vector<float> Run::read_device_row(const RowPool& pool, std::int64_t row,
                                        const IndexRowFormat& format) {
  const std::byte* page = read(pool.pages + row / pool.rows_per_page);
  const std::int64_t in_page = row % pool.rows_per_page;
  std::vector<std::byte> bytes(static_cast<std::size_t>(pool.data_bytes + pool.scale_bytes));
  const auto data = std::span(bytes).first(static_cast<std::size_t>(pool.data_bytes));
  backend_.copy_out(data, page + in_page * pool.data_bytes);
  backend_.copy_out(
      std::span(bytes).subspan(data.size()),
      page + std::int64_t{pool.rows_per_page} * pool.data_bytes + in_page * pool.scale_bytes);
  std::byte* const start = bytes.data();
  return read_index_row({&start, 1, pool.data_bytes, pool.scale_bytes}, 0, format);
}

// The indexer's score of one row for one token of a step; NaN, which equals nothing, for a row that
// the token cannot see.
double Run::index_score(const SelectArgs& args, std::int64_t token, std::int32_t row) {
  if (row >= read(&args.n_visible[static_cast<std::size_t>(token)])) {
    return std::numeric_limits<double>::quiet_NaN();
  }
  const std::int64_t n_heads = args.weights.cols;
  const std::vector<float> key = read_device_row(args.keys, row, args.format);
  double score = 0;
  for (std::int64_t h = 0; h < n_heads; ++h) {
    const auto query = read_device_row(args.queries, token * n_heads + h, args.format);
    const double product = std::inner_product(query.begin(), query.end(), key.begin(), 0.0);
    score += double{read(args.weights.row(token) + h)} * std::max(product, 0.0);
  }
  return score;
}

StepObserver Run::collect(std::vector<SelectionOverlap>& overlaps, std::int64_t begin) {
  StepObserver observer;
  observer.on_selection = [this, &overlaps, begin](const SelectionView& view) {
    const auto want = expected_.integers(fmt::format("topk.{}", view.layer));
    if (!want) return;  // its absence was reported when the file was opened
    std::vector<std::int32_t> got(static_cast<std::size_t>(view.rows.rows * view.rows.cols));
    backend_.copy_out(std::as_writable_bytes(std::span(got)),
                      reinterpret_cast<const std::byte*>(view.rows.data));
    const SelectArgs& scoring = *view.scoring;
    overlaps[static_cast<std::size_t>(view.layer)].add(
        {got.data(), view.rows.rows, view.rows.cols}, want->slice_rows(begin, view.rows.rows),
        [&](std::int64_t token, std::int32_t row) { return index_score(scoring, token, row); });
  };
  return observer;
}

Result<void> Run::end_to_end(VerifyReport& report) {
  PRECIS_ASSIGN_OR_RETURN(const Mat<const float> want, expected_.matrix("logits"));
  const std::int64_t n_tokens = expected_.n_tokens();
  const auto cache = new_cache();
  RelativeErrors errors;
  std::int64_t n_agree = 0;
  std::vector<SelectionOverlap> overlaps(static_cast<std::size_t>(model_.config().n_layers()));
  std::vector<float> host;
  for (std::int64_t at = 0; at < n_tokens;) {
    const std::int64_t n = next_step(at, expected_.n_prefill);
    cache->reserve(n);
    const std::array<SequenceStep, 1> step{{{cache.get(), expected_.ids(at, n)}}};
    model_.forward(step, collect(overlaps, at));
    for (std::int64_t i = 0; i < n; i += kMaxLogitRows) {
      const std::int64_t rows = std::min(kMaxLogitRows, n - i);
      const Mat<const float> device = model_.logits(i, rows);
      const Mat<float> got = read(host, device.data, rows, device.cols);
      const Mat<const float> wanted = want.slice_rows(at + i, rows);
      errors.add(got, wanted);
      n_agree += count_argmax_agreement(got, wanted);
    }
    at += n;
  }
  report.end_to_end.logits_rel_median = errors.quantile(0.5);
  report.end_to_end.logits_rel_p99 = errors.quantile(0.99);
  report.end_to_end.argmax_agree = static_cast<double>(n_agree) / static_cast<double>(n_tokens);
  SelectionOverlap all;
  for (const SelectionOverlap& overlap : overlaps) all.add(overlap);
  report.end_to_end.topk_overlap = all.share();
  return {};
}

Result<void> Run::layer(int layer, VerifyReport& report) {
  const std::int64_t d = model_.config().hidden_size;
  const std::int64_t width = d * model_.config().n_streams;
  PRECIS_ASSIGN_OR_RETURN(const Mat<const float> attn,
                          expected_.matrix(fmt::format("attn_out.{}", layer)));
  PRECIS_ASSIGN_OR_RETURN(const Mat<const float> ffn,
                          expected_.matrix(fmt::format("ffn_out.{}", layer)));
  PRECIS_ASSIGN_OR_RETURN(const Mat<const float> streams,
                          expected_.matrix(fmt::format("streams.{}", layer)));
  Mat<const float> input;
  if (layer > 0) {
    PRECIS_ASSIGN_OR_RETURN(input, expected_.matrix(fmt::format("streams.{}", layer - 1)));
  }

  const auto cache = new_cache();
  RelativeErrors attn_errors;
  RelativeErrors ffn_errors;
  RelativeErrors stream_errors;
  std::vector<SelectionOverlap> overlaps(static_cast<std::size_t>(model_.config().n_layers()));
  std::vector<float> host;
  for (std::int64_t at = 0; at < expected_.n_tokens();) {
    const std::int64_t n = next_step(at, expected_.n_prefill);
    cache->reserve(n);
    const std::array<SequenceStep, 1> step{{{cache.get(), expected_.ids(at, n)}}};
    model_.begin_step(step);
    if (layer == 0) {
      model_.embed();
    } else {
      backend_.copy_in(
          reinterpret_cast<std::byte*>(model_.streams().data),
          std::as_bytes(std::span(input.row(at), static_cast<std::size_t>(n * width))));
    }
    std::vector<float> attn_out(static_cast<std::size_t>(n * d));
    std::vector<float> ffn_out(attn_out.size());
    const Model::LayerOutputs outputs{{attn_out.data(), n, d}, {ffn_out.data(), n, d}};
    model_.run_layer(layer, collect(overlaps, at), outputs);
    model_.end_step();
    attn_errors.add(outputs.attn_out, attn.slice_rows(at, n));
    ffn_errors.add(outputs.ffn_out, ffn.slice_rows(at, n));
    stream_errors.add(read(host, model_.streams().data, n, width), streams.slice_rows(at, n));
    at += n;
  }

  LayerVerify out;
  out.layer = layer;
  out.attn_out_rel_median = attn_errors.quantile(0.5);
  out.ffn_out_rel_median = ffn_errors.quantile(0.5);
  out.streams_rel_median = stream_errors.quantile(0.5);
  out.topk_overlap = overlaps[static_cast<std::size_t>(layer)].share();
  PRECIS_TRY(compare_rows(*cache, layer, out));
  report.per_layer.push_back(out);
  return {};
}

Result<void> Run::compare_rows(const KvCache& cache, int layer, LayerVerify& out) {
  const LayerConfig& config = model_.config().layers[static_cast<std::size_t>(layer)];
  if (!config.compressed()) return {};
  // Pages come to the host whole, and are read there as the backend wrote them.
  std::vector<std::byte> pages(static_cast<std::size_t>(cache.n_pages() * cache.page_bytes()));
  cache.copy_out_pages(0, pages);
  const KvLayout layout = make_kv_layout(spec_);
  const LayerKvLayout& at = layout.layers[static_cast<std::size_t>(layer)];
  std::vector<std::byte*> table(static_cast<std::size_t>(cache.n_pages()));
  const auto on_host = [&](RowPool pool, int part) {
    const std::int64_t offset = layout.page_parts[static_cast<std::size_t>(part)].offset;
    for (std::size_t i = 0; i < table.size(); ++i) {
      table[i] = pages.data() + i * static_cast<std::size_t>(cache.page_bytes()) + offset;
    }
    pool.pages = table.data();
    return pool;
  };
  const std::int64_t n_rows = cache.n_tokens() / config.ratio;

  PRECIS_ASSIGN_OR_RETURN(const Mat<const float> rows,
                          expected_.matrix(fmt::format("rows.{}", layer)));
  const RowPool pool = on_host(cache.rows(layer), at.rows);
  ElementDifferences kv_differences;
  for (std::int64_t i = 0; i < n_rows; ++i) {
    kv_differences.add(read_kv_row(pool, i, spec_.kv), rows.row_span(i));
  }
  out.rows_differ = kv_differences.share();
  if (config.kind != LayerKind::kSparse) return {};

  PRECIS_ASSIGN_OR_RETURN(const Mat<const float> index_rows,
                          expected_.matrix(fmt::format("index_rows.{}", layer)));
  const RowPool index_pool = on_host(cache.index_rows(layer), at.index_rows);
  ElementDifferences index_differences;
  for (std::int64_t i = 0; i < n_rows; ++i) {
    index_differences.add(read_index_row(index_pool, i, spec_.index), index_rows.row_span(i));
  }
  out.index_rows_differ = index_differences.share();
  return {};
}

// The MTP block on the expected streams of positions 0 … n−2 and the ids of positions 1 … n−1.
Result<void> Run::mtp(VerifyReport& report) {
  if (!expected_.has("mtp.logits") || model_.config().mtp.empty()) return {};
  PRECIS_ASSIGN_OR_RETURN(const Mat<const float> want, expected_.matrix("mtp.logits"));
  PRECIS_ASSIGN_OR_RETURN(
      const Mat<const float> streams,
      expected_.matrix(fmt::format("streams.{}", model_.config().n_layers() - 1)));
  const KvSpec spec = model_.mtp_kv_spec();
  const StepRows step_rows(backend_, spec, model_.max_step_tokens());
  PagePool pool(backend_, make_kv_layout(spec).page_bytes);
  KvCache cache(backend_, spec, pool, step_rows, expected_.n_tokens());
  const Buffer input =
      backend_.allocate(static_cast<std::size_t>(4 * model_.max_step_tokens() * streams.cols));
  RelativeErrors errors;
  std::vector<float> host;
  const std::int64_t n_positions = want.rows;
  for (std::int64_t at = 0; at < n_positions;) {
    const std::int64_t n = next_step(at, n_positions);
    backend_.copy_in(
        input.data(),
        std::as_bytes(std::span(streams.row(at), static_cast<std::size_t>(n * streams.cols))));
    const std::array<SequenceStep, 1> step{{{&cache, expected_.ids(at + 1, n)}}};
    cache.reserve(n);
    model_.mtp_forward(
        0, {input.as<float>(), n, model_.config().n_streams, model_.config().hidden_size}, step);
    for (std::int64_t i = 0; i < n; i += kMaxLogitRows) {
      const std::int64_t rows = std::min(kMaxLogitRows, n - i);
      const Mat<const float> device = model_.mtp_logits(0, i, rows);
      errors.add(read(host, device.data, rows, device.cols), want.slice_rows(at + i, rows));
    }
    at += n;
  }
  report.has_mtp = true;
  report.mtp_logits_rel_median = errors.quantile(0.5);
  return {};
}

// Collects a sentence for each limit that a figure misses; NaN misses every limit.
class Judge {
 public:
  explicit Judge(VerifyReport& report) : report_(report) {}

  void at_most(std::string_view what, double value, double limit) {
    if (!(value <= limit)) {
      report_.failures.push_back(
          fmt::format("{}: want at most {:.3g}, found {:.3g}", what, limit, value));
    }
  }
  void at_least(std::string_view what, double value, double limit) {
    if (!(value >= limit)) {
      report_.failures.push_back(
          fmt::format("{}: want at least {:.3g}, found {:.3g}", what, limit, value));
    }
  }

 private:
  VerifyReport& report_;
};

void judge(VerifyReport& report, const EndToEndLimits& limits) {
  Judge j(report);
  j.at_most("end to end logits, median", report.end_to_end.logits_rel_median, limits.logits_rel);
  j.at_least("end to end arg-max", report.end_to_end.argmax_agree, limits.argmax_agree);
  j.at_least("end to end selection", report.end_to_end.topk_overlap, limits.topk_overlap);
  if (report.has_mtp)
    j.at_most("MTP logits, median", report.mtp_logits_rel_median, limits.logits_rel);
  for (const LayerVerify& layer : report.per_layer) {
    const std::string at = fmt::format("layer {} ", layer.layer);
    j.at_most(at + "attn_out, median", layer.attn_out_rel_median, VerifyLimits::kLayerRel);
    j.at_most(at + "ffn_out, median", layer.ffn_out_rel_median, VerifyLimits::kLayerRel);
    j.at_most(at + "streams, median", layer.streams_rel_median, VerifyLimits::kLayerRel);
    j.at_most(at + "rows that differ", layer.rows_differ, VerifyLimits::kRowsDiffer);
    j.at_most(at + "index rows that differ", layer.index_rows_differ, VerifyLimits::kRowsDiffer);
    j.at_least(at + "selection", layer.topk_overlap, VerifyLimits::kTopkOverlap);
  }
}

bool is_quantised(const ModelTensors& tensors) {
  return input_quant(*tensors.layers.front().wq_a) != InputQuant::kNone;
}

}  // namespace

Result<VerifyReport> verify(const VerifyOptions& options) {
  if (options.chunk_tokens < 0) {
    return Error{ErrorCode::kInvalidArgument,
                 fmt::format("chunk: want at least 1 token, found {}", options.chunk_tokens)};
  }
  PRECIS_ASSIGN_OR_RETURN(const ModelConfig config, load_config(options.model));
  PRECIS_ASSIGN_OR_RETURN(const Expected expected, Expected::open(options.expected, config));
  EngineOptions engine_options;
  engine_options.model = options.model;
  engine_options.backend = options.backend;
  engine_options.mode = ComputeMode::kF32;
  engine_options.n_threads = options.n_threads;
  PRECIS_ASSIGN_OR_RETURN(
      LoadedModel loaded,
      load_model(engine_options, config,
                 static_cast<int>(std::max<std::int64_t>(expected.n_prefill, 1))));

  VerifyReport report;
  Run run(loaded, expected, options);
  PRECIS_TRY(run.end_to_end(report));
  if (options.per_layer) {
    for (int n = 0; n < config.n_layers(); ++n) PRECIS_TRY(run.layer(n, report));
  }
  PRECIS_TRY(run.mtp(report));
  judge(report, is_quantised(loaded.model->tensors()) ? kQuantisedLimits : kBf16Limits);
  return report;
}

}  // namespace precis
