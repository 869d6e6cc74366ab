#include "engine/model_source.h"

#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "precis/synthetic.h"

#include "base/file.h"
#include "checkpoint/safetensors.h"
#include "model/synthetic.h"
#include "model/tensor_table.h"
#include "plan/released_models.h"

namespace precis {
namespace {

using nlohmann::json;

constexpr std::size_t kMaxTokenizerBytes = 256 << 20;
constexpr std::size_t kMaxConfigBytes = 1 << 20;

// A shape as config.json before and after the wanted cut.
struct SyntheticShape {
  json full;
  json cut;
};

Result<json> full_shape(const std::string& name, const std::filesystem::path& model) {
  if (name == "mini") {
    PRECIS_TRY(load_config(model));  // its messages name the field
    PRECIS_ASSIGN_OR_RETURN(const std::string text,
                            read_text_file(model / "config.json", kMaxConfigBytes));
    return json::parse(text);
  }
  const std::optional<ReleasedModel> released = find_released_model(name);
  if (!released) {
    return Error{ErrorCode::kInvalidArgument,
                 fmt::format("shape: want flash, pro or mini, found \"{}\"", name)};
  }
  if (const auto config = parse_config(released->config, name); !config) {
    return Error{
        ErrorCode::kUnsupported,
        fmt::format("shape: want flash, pro or mini, found {}, which this engine cannot run "
                    "({}); precis plan {} counts its bytes",
                    name, config.error().message, name)};
  }
  return json::parse(released->config);
}

// A count within the shape; 0 asks for all of it.
Result<int> resolve(const char* what, int wanted, int least, int most) {
  if (wanted == 0) return most;
  if (wanted >= least && wanted <= most) return wanted;
  return Error{ErrorCode::kInvalidArgument,
               fmt::format("{}: want {} … {}, found {}", what, least, most, wanted)};
}

Result<SyntheticShape> synthetic_shape(const SyntheticModel& synthetic,
                                       const std::filesystem::path& model) {
  PRECIS_ASSIGN_OR_RETURN(json full, full_shape(synthetic.shape, model));
  PRECIS_ASSIGN_OR_RETURN(const int n_layers,
                          resolve("layers", synthetic.n_layers, 1, full.at("num_hidden_layers")));
  // A token takes num_experts_per_tok different experts.
  PRECIS_ASSIGN_OR_RETURN(const int n_experts,
                          resolve("experts", synthetic.n_experts, full.at("num_experts_per_tok"),
                                  full.at("n_routed_experts")));
  json cut = full;
  const std::vector<int> ratios = full.at("compress_ratios");
  cut["compress_ratios"] = std::vector<int>(ratios.begin(), ratios.begin() + n_layers);
  cut["num_hidden_layers"] = n_layers;
  cut["n_routed_experts"] = n_experts;
  cut["num_hash_layers"] = std::min<int>(full.value("num_hash_layers", 0), n_layers);
  cut["num_nextn_predict_layers"] =
      synthetic.draft_block ? full.value("num_nextn_predict_layers", 0) : 0;
  if (cut["num_nextn_predict_layers"] == 1) cut["compress_ratios"].push_back(0);
  for (const char* drafter : {"dspark_block_size", "dspark_noise_token_id",
                              "dspark_target_layer_ids", "dspark_markov_rank"}) {
    cut.erase(drafter);
  }
  return SyntheticShape{std::move(full), std::move(cut)};
}

std::string name_of(const std::string& shape, const json& full, const json& cut) {
  std::string name = shape;
  for (const auto& [field, what] :
       {std::pair{"num_hidden_layers", "layers"}, std::pair{"n_routed_experts", "experts"}}) {
    const int n = cut.at(field);
    const int all = full.at(field);
    name += n == all ? fmt::format(", {} {}", n, what) : fmt::format(", {} of {} {}", n, all, what);
  }
  return name;
}

Result<SyntheticSummary> summarise(const SyntheticShape& shape, const SyntheticModel& synthetic) {
  PRECIS_ASSIGN_OR_RETURN(const ModelConfig config,
                          parse_config(shape.cut.dump(), synthetic.shape));
  const SyntheticTensors tensors(config, SyntheticDtypes::kRelease, synthetic.seed);
  SyntheticSummary summary;
  summary.name = name_of(synthetic.shape, shape.full, shape.cut);
  summary.n_layers = config.n_layers();
  summary.n_experts = config.n_experts;
  summary.n_tensors = std::ssize(tensors.tensors());
  summary.n_bytes = static_cast<std::int64_t>(tensors.payload_bytes());
  for (const TensorSpec& spec : expected_tensors(config)) {
    summary.n_parameters += n_parameters(spec);
  }
  return summary;
}

}  // namespace

Result<ModelConfig> model_config(const EngineOptions& options) {
  if (!options.synthetic) return load_config(options.model);
  PRECIS_ASSIGN_OR_RETURN(const SyntheticShape shape,
                          synthetic_shape(*options.synthetic, options.model));
  return parse_config(shape.cut.dump(), options.synthetic->shape);
}

Result<std::unique_ptr<TensorSource>> open_tensors(const EngineOptions& options,
                                                   const ModelConfig& config, ThreadPool& threads) {
  if (options.synthetic) {
    return std::unique_ptr<TensorSource>(std::make_unique<SyntheticTensors>(
        config, SyntheticDtypes::kRelease, options.synthetic->seed, &threads));
  }
  PRECIS_ASSIGN_OR_RETURN(Checkpoint checkpoint, Checkpoint::open(options.model));
  return std::unique_ptr<TensorSource>(std::make_unique<Checkpoint>(std::move(checkpoint)));
}

std::string model_name(const EngineOptions& options, const ModelConfig& config) {
  if (options.synthetic) {
    return fmt::format("synthetic {}, {} layers, {} experts", options.synthetic->shape,
                       config.n_layers(), config.n_experts);
  }
  const auto path = options.model.lexically_normal();
  return (path.has_filename() ? path : path.parent_path()).filename().string();
}

Result<SyntheticSummary> summarise_synthetic(const SyntheticModel& synthetic,
                                             const std::filesystem::path& model) {
  PRECIS_ASSIGN_OR_RETURN(const SyntheticShape shape, synthetic_shape(synthetic, model));
  return summarise(shape, synthetic);
}

Result<SyntheticSummary> write_synthetic(const SyntheticModel& synthetic,
                                         const std::filesystem::path& model,
                                         const std::filesystem::path& dir,
                                         const WriteProgressFn& progress) {
  PRECIS_ASSIGN_OR_RETURN(const SyntheticShape shape, synthetic_shape(synthetic, model));
  PRECIS_ASSIGN_OR_RETURN(const SyntheticSummary summary, summarise(shape, synthetic));
  SyntheticFiles files;
  files.config_json = shape.cut.dump(2) + "\n";
  files.seed = synthetic.seed;
  PRECIS_ASSIGN_OR_RETURN(files.texts["tokenizer.json"],
                          read_text_file(model / "tokenizer.json", kMaxTokenizerBytes));
  ThreadPool threads(n_available_processors());
  PRECIS_TRY(write_synthetic(dir, files, &threads, progress));
  return summary;
}

}  // namespace precis
