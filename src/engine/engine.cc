#include "precis/engine.h"

#include <algorithm>

#include <fmt/format.h>

#include "precis/host.h"

#include "backend/registry.h"
#include "engine/device_plan.h"
#include "engine/engine_impl.h"
#include "engine/kv_compare.h"
#include "engine/model_source.h"
#include "model/tensor_table.h"
#include "plan/definition.h"

namespace precis {
namespace {

constexpr int kMaxChunkTokens = 8192;

Result<int> resolve_threads(int n_threads) {
  const int available = n_available_processors();
  if (n_threads == 0) return available;
  if (n_threads < 0 || n_threads > available) {
    return Error{ErrorCode::kInvalidArgument,
                 fmt::format("threads: want 1 … {} (the processors of this machine), found {}",
                             available, n_threads)};
  }
  return n_threads;
}

Result<std::int64_t> resolve_max_tokens(std::int64_t max_tokens, const ModelConfig& config) {
  const std::int64_t limit = config.max_position_embeddings;
  if (max_tokens == 0) return limit;
  if (max_tokens < 0 || max_tokens > limit) {
    return Error{ErrorCode::kInvalidArgument,
                 fmt::format("ctx: want 1 … {} tokens (max_position_embeddings), found {}", limit,
                             max_tokens)};
  }
  return max_tokens;
}

ModelInfo describe(const EngineOptions& options, const LoadedModel& loaded) {
  const ModelConfig& config = loaded.model->config();
  ModelInfo info;
  info.name = model_name(options, config);
  info.fingerprint = loaded.model->tensors().fingerprint;
  info.n_layers = config.n_layers();
  info.n_window_layers = config.n_layers_of(LayerKind::kWindow);
  info.n_sparse_layers = config.n_layers_of(LayerKind::kSparse);
  info.n_heavy_layers = config.n_layers_of(LayerKind::kHeavy);
  for (const LayerConfig& layer : config.layers) {
    if (layer.kind == LayerKind::kSparse) info.sparse_ratio = layer.ratio;
    if (layer.kind == LayerKind::kHeavy) info.heavy_ratio = layer.ratio;
  }
  info.vocab_size = static_cast<int>(config.vocab_size);
  info.index_topk = config.index_topk;
  info.max_position_embeddings = config.max_position_embeddings;
  info.n_parameters = loaded.n_parameters;
  info.bos_token = config.bos_token;
  info.eos_token = config.eos_token;
  info.backend = loaded.backend->name();
  info.isa = loaded.backend->isa();
  info.n_threads = loaded.threads->n_threads();
  return info;
}

}  // namespace

Result<ComputeMode> parse_compute_mode(std::string_view name) {
  if (name == "release") return ComputeMode::kRelease;
  if (name == "f32") return ComputeMode::kF32;
  return Error{ErrorCode::kInvalidArgument,
               fmt::format("mode: want \"release\" or \"f32\", found \"{}\"", name)};
}

std::string_view compute_mode_name(ComputeMode mode) {
  return mode == ComputeMode::kRelease ? "release" : "f32";
}

Result<int> resolve_chunk(int chunk_tokens) {
  if (chunk_tokens == 0) return kDefaultChunkTokens;
  if (chunk_tokens < 0 || chunk_tokens > kMaxChunkTokens) {
    return Error{ErrorCode::kInvalidArgument,
                 fmt::format("chunk: want 1 … {} tokens, found {}", kMaxChunkTokens, chunk_tokens)};
  }
  return chunk_tokens;
}

namespace {

Result<void> check_placement(const EngineOptions& options, const ModelConfig& config,
                             const Backend& backend) {
  const int n = options.n_host_experts;
  if (n < 0 || n > config.n_experts) {
    return Error{ErrorCode::kInvalidArgument,
                 fmt::format("experts on host: want 0 … {} (n_routed_experts), found {}",
                             config.n_experts, n)};
  }
  if (n > 0 && !backend.reads_host_weights()) {
    return Error{ErrorCode::kInvalidArgument,
                 fmt::format("experts on host: want a backend with memory of its own (cuda), found "
                             "{}, which keeps every weight in host memory",
                             backend.name())};
  }
  return {};
}

Rounding rounding_of(ComputeMode mode) {
  return mode == ComputeMode::kRelease ? Rounding::kBf16 : Rounding::kNone;
}

// Before anything is loaded: whether the backend runs models of these sizes, and has the memory.
Result<void> prepare_device(const EngineOptions& options, const ModelConfig& config,
                            const TensorSource& source, int chunk_tokens, LoadedModel& loaded) {
  Backend& backend = *loaded.backend;
  const bool has_index = config.n_layers_of(LayerKind::kSparse) > 0;
  PRECIS_TRY(backend.check_sizes({config.kv_format(RopeStorage::kBf16),
                                  has_index ? config.index_format() : IndexRowFormat{},
                                  config.n_streams, config.n_experts, config.n_active_experts}));
  const std::optional<DeviceMemory> memory = backend.memory();
  if (!memory) return {};
  PRECIS_ASSIGN_OR_RETURN(const std::int64_t max_tokens,
                          resolve_max_tokens(options.max_tokens, config));
  loaded.needs = device_needs(config, source, rounding_of(options.mode), chunk_tokens, max_tokens,
                              {.n_host_experts = options.n_host_experts}, *memory);
  if (options.on_device_plan) options.on_device_plan(loaded.needs.plan);
  PRECIS_TRY(check_host_fits(loaded.needs.plan, available_memory()));
  PRECIS_TRY(check_fits(loaded.needs));
  return backend.reserve(loaded.needs.plan.needed());
}

}  // namespace

Result<LoadedModel> load_model(const EngineOptions& options, ModelConfig config, int chunk_tokens,
                               const WrapBackend& wrap) {
  PRECIS_ASSIGN_OR_RETURN(const int n_threads, resolve_threads(options.n_threads));
  LoadedModel loaded;
  loaded.threads = std::make_unique<ThreadPool>(n_threads);
  PRECIS_ASSIGN_OR_RETURN(loaded.backend, make_backend(options.backend, *loaded.threads));
  // Where experts are read over the bus, a step waits for it and not for launches.
  if (options.launch == StepLaunch::kDirect || options.n_host_experts > 0) {
    loaded.backend->launch_directly();
  }
  if (wrap) loaded.backend = wrap(std::move(loaded.backend));
  PRECIS_TRY(check_placement(options, config, *loaded.backend));
  PRECIS_ASSIGN_OR_RETURN(const std::unique_ptr<TensorSource> source,
                          open_tensors(options, config, *loaded.threads));
  PRECIS_TRY(prepare_device(options, config, *source, chunk_tokens, loaded));
  PRECIS_ASSIGN_OR_RETURN(
      ModelTensors tensors,
      load_tensors(config, *source, *loaded.backend, {.n_host_experts = options.n_host_experts}));
  for (const TensorSpec& spec : expected_tensors(config)) {
    if (!spec.mtp) loaded.n_parameters += n_parameters(spec);
  }
  loaded.model = std::make_unique<Model>(std::move(config), std::move(tensors), *loaded.backend,
                                         rounding_of(options.mode), chunk_tokens,
                                         RowAblation{options.ablation, options.ablation_seed});
  return loaded;
}

Result<void> Engine::Impl::reserve_session() {
  const DevicePlan& plan = loaded.needs.plan;
  PRECIS_TRY(backend().reserve(plan.weights + plan.steps + (n_sessions + 1) * plan.cache));
  ++n_sessions;
  return {};
}

Engine::Engine(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Engine::~Engine() = default;

Result<std::unique_ptr<Engine>> Engine::open(const EngineOptions& options) {
  PRECIS_ASSIGN_OR_RETURN(const int chunk_tokens, resolve_chunk(options.chunk_tokens));
  PRECIS_ASSIGN_OR_RETURN(const ModelConfig config, model_config(options));
  PRECIS_ASSIGN_OR_RETURN(const std::int64_t max_tokens,
                          resolve_max_tokens(options.max_tokens, config));
  PRECIS_ASSIGN_OR_RETURN(Tokenizer tokenizer,
                          Tokenizer::load((options.model / "tokenizer.json").string()));
  if (tokenizer.vocab_size() > config.vocab_size) {
    return Error{ErrorCode::kCorrupt,
                 fmt::format("{}: want at most vocab_size = {} tokens, found {}",
                             (options.model / "tokenizer.json").string(), config.vocab_size,
                             tokenizer.vocab_size())};
  }
  PRECIS_ASSIGN_OR_RETURN(LoadedModel loaded, load_model(options, config, chunk_tokens));

  auto impl = std::make_unique<Impl>(Impl{
      options, std::move(loaded), std::move(tokenizer), {}, max_tokens, nullptr, nullptr, {}, 0});
  impl->info = describe(options, impl->loaded);
  const KvSpec spec = impl->model().kv_spec();
  impl->step_rows = std::make_unique<StepRows>(impl->backend(), spec, chunk_tokens);
  impl->pages = std::make_unique<PagePool>(impl->backend(), make_kv_layout(spec).page_bytes);
  return std::unique_ptr<Engine>(new Engine(std::move(impl)));
}

const ModelInfo& Engine::info() const {
  return impl_->info;
}
const Tokenizer& Engine::tokenizer() const {
  return impl_->tokenizer;
}
std::int64_t Engine::max_tokens() const {
  return impl_->max_tokens;
}
ComputeMode Engine::mode() const {
  return impl_->options.mode;
}

Ablation Engine::ablation() const {
  return impl_->options.ablation;
}
std::uint64_t Engine::ablation_seed() const {
  return impl_->options.ablation_seed;
}

MemoryPlan Engine::plan(std::int64_t n_tokens) const {
  const KvSpec spec = impl_->model().kv_spec();
  MemoryPlan plan;
  plan.n_tokens = n_tokens;
  plan.weights = impl_->model().tensors().n_bytes;
  plan.host_weights = impl_->model().tensors().n_host_bytes;
  plan.scratch = impl_->model().scratch_bytes() + impl_->step_rows->n_bytes();
  plan.frontiers = kMaxFrontiers * make_kv_layout(spec).fixed_bytes();
  plan.kv = kv_bytes(spec, n_tokens);
  return plan;
}

void Engine::count_operations() {
  impl_->counter.reset();
  impl_->backend().count_into(&impl_->counter);
}

std::vector<OperationCount> Engine::operation_counts() const {
  std::vector<OperationCount> counts;
  for (const OpCounter::Entry& entry : impl_->counter.entries()) {
    counts.push_back(
        {std::string(entry.op), entry.n_calls, by_class(entry.cost.flop), entry.cost.bytes});
  }
  return counts;
}

KvComparison Engine::compare_kv(std::int64_t n_tokens) const {
  return precis::compare_kv(impl_->model().config(), n_tokens);
}

}  // namespace precis
