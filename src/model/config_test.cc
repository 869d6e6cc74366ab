#include "model/config.h"

#include <fstream>
#include <limits>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "model/model_test_util.h"
#include "model/released_configs.h"

namespace precis {
namespace {

using nlohmann::json;

Result<ModelConfig> parse(const json& config) {
  return parse_config(config.dump(), "config.json");
}

// Flash with one field set to `value`.
json flash_with(const char* field, json value) {
  json config = flash_config();
  config[field] = std::move(value);
  return config;
}

void expect_refused(const json& config, ErrorCode code, std::vector<std::string> parts) {
  parts.push_back("config.json");
  expect_error(parse(config), code, parts);
}

const std::vector<const char*> kRequiredIntegers = {"vocab_size",
                                                    "hidden_size",
                                                    "num_hidden_layers",
                                                    "hc_mult",
                                                    "head_dim",
                                                    "num_attention_heads",
                                                    "qk_rope_head_dim",
                                                    "q_lora_rank",
                                                    "o_groups",
                                                    "o_lora_rank",
                                                    "sliding_window",
                                                    "index_topk",
                                                    "index_n_heads",
                                                    "index_head_dim",
                                                    "n_routed_experts",
                                                    "num_experts_per_tok",
                                                    "moe_intermediate_size",
                                                    "hc_sinkhorn_iters",
                                                    "max_position_embeddings"};
const std::vector<const char*> kRequiredNumbers = {
    "rms_norm_eps", "hc_eps",     "routed_scaling_factor",
    "swiglu_limit", "rope_theta", "compress_rope_theta"};

TEST(Config, FlashIsReadAsReleased) {
  const auto config = parse(flash_config());
  ASSERT_TRUE(config.ok()) << config.error().message;
  EXPECT_EQ(config->n_layers(), 43);
  EXPECT_EQ(config->n_layers_of(LayerKind::kWindow), 2);
  EXPECT_EQ(config->n_layers_of(LayerKind::kSparse), 21);
  EXPECT_EQ(config->n_layers_of(LayerKind::kHeavy), 20);
  EXPECT_EQ(config->nope_dim(), 448);
  EXPECT_EQ(config->mix_dim(), 24);
  EXPECT_TRUE(config->layers[2].hash_routing);
  EXPECT_FALSE(config->layers[3].hash_routing);
  EXPECT_EQ(config->rope_theta_of(config->layers[0]), 10000);
  EXPECT_EQ(config->rope_theta_of(config->layers[2]), 160000);
  EXPECT_EQ(config->yarn.factor, 16);
  ASSERT_EQ(config->mtp.size(), 1u);
  EXPECT_EQ(config->mtp[0].kind, LayerKind::kWindow);
  EXPECT_EQ(config->drafter.n_stages, 0);
}

TEST(Config, ProStartsWithHeavyLayersAndItsDraftBlockIsWindowOnly) {
  const auto config = parse(pro_config());
  ASSERT_TRUE(config.ok()) << config.error().message;
  EXPECT_EQ(config->n_layers_of(LayerKind::kWindow), 0);
  EXPECT_EQ(config->n_layers_of(LayerKind::kSparse), 30);
  EXPECT_EQ(config->n_layers_of(LayerKind::kHeavy), 31);
  EXPECT_EQ(config->mtp[0].kind, LayerKind::kWindow);
}

TEST(Config, DrafterStagesAreCountedFromTheRatios) {
  const auto config = parse(with_drafter(flash_config(), 256));
  ASSERT_TRUE(config.ok()) << config.error().message;
  EXPECT_EQ(config->drafter.n_stages, 3);
  EXPECT_EQ(config->drafter.n_targets, 3);
  EXPECT_EQ(config->drafter.markov_rank, 256);
  EXPECT_TRUE(config->mtp.empty());
}

TEST(Config, EveryMissingFieldIsNamed) {
  std::vector<const char*> fields = kRequiredIntegers;
  fields.insert(fields.end(), kRequiredNumbers.begin(), kRequiredNumbers.end());
  fields.insert(fields.end(), {"compress_ratios", "model_type"});
  for (const char* field : fields) {
    json config = flash_config();
    config.erase(field);
    expect_refused(config, ErrorCode::kCorrupt, {field, "missing"});
    expect_refused(flash_with(field, nullptr), ErrorCode::kCorrupt, {field, "missing"});
  }
}

TEST(Config, EveryIntegerOfAnotherTypeOrOutOfRangeIsNamed) {
  const std::vector<json> bad = {"12",
                                 12.5,
                                 true,
                                 json::array({1}),
                                 json::object(),
                                 0,
                                 -1,
                                 std::int64_t{1} << 40,
                                 std::numeric_limits<std::int64_t>::min(),
                                 std::numeric_limits<std::uint64_t>::max(),
                                 1e300};
  for (const char* field : kRequiredIntegers) {
    for (const json& value : bad) {
      expect_refused(flash_with(field, value), ErrorCode::kCorrupt,
                     {field, "want an integer", "found"});
    }
  }
}

TEST(Config, EveryNumberOfAnotherTypeOrOutOfRangeIsNamed) {
  for (const char* field : kRequiredNumbers) {
    for (const json& value : {json("x"), json(true), json(json::array()), json(-1), json(1e300)}) {
      expect_refused(flash_with(field, value), ErrorCode::kCorrupt, {field, "want a number"});
    }
  }
}

TEST(Config, OptionalFieldsAreCheckedWhereTheyAreThere) {
  for (const char* field : {"bos_token_id", "eos_token_id"}) {
    expect_refused(flash_with(field, -1), ErrorCode::kCorrupt, {field});
    expect_refused(flash_with(field, 129280), ErrorCode::kCorrupt, {field, "129280"});
  }
  expect_refused(flash_with("num_hash_layers", 44), ErrorCode::kCorrupt, {"num_hash_layers", "44"});
  expect_refused(flash_with("num_nextn_predict_layers", 2), ErrorCode::kCorrupt,
                 {"num_nextn_predict_layers"});
  json config = flash_config();
  for (const char* field : {"bos_token_id", "eos_token_id", "num_hash_layers", "rope_scaling",
                            "num_nextn_predict_layers", "quantization_config", "hidden_act"}) {
    config.erase(field);
  }
  const auto parsed = parse(config);
  ASSERT_TRUE(parsed.ok()) << parsed.error().message;
  EXPECT_EQ(parsed->eos_token, 1);
  EXPECT_TRUE(parsed->mtp.empty());
}

TEST(Config, AnotherModelFamilyIsUnsupportedByName) {
  expect_refused(flash_with("model_type", "deepseek_v3"), ErrorCode::kUnsupported,
                 {"model_type", "deepseek_v4", "deepseek_v3"});
  expect_refused(flash_with("model_type", 4), ErrorCode::kUnsupported, {"model_type"});
  expect_refused(flash_with("scoring_func", "sigmoid"), ErrorCode::kUnsupported,
                 {"scoring_func", "sigmoid"});
  expect_refused(flash_with("hidden_act", "gelu"), ErrorCode::kUnsupported, {"hidden_act"});
  expect_refused(flash_with("topk_method", "greedy"), ErrorCode::kUnsupported, {"topk_method"});
  expect_refused(flash_with("norm_topk_prob", false), ErrorCode::kUnsupported,
                 {"norm_topk_prob", "true", "false"});
  expect_refused(flash_with("tie_word_embeddings", true), ErrorCode::kUnsupported,
                 {"tie_word_embeddings", "false", "true"});
  expect_refused(flash_with("n_shared_experts", 2), ErrorCode::kUnsupported,
                 {"n_shared_experts", "2"});
  expect_refused(flash_with("num_key_value_heads", 8), ErrorCode::kUnsupported,
                 {"num_key_value_heads", "8"});
}

TEST(Config, SharedRowsOfV41AreUnsupportedByName) {
  json config = flash_with("kv_source_layer_ids", {2, 8, 14, 20});
  config["index_source_layer_ids"] = {2, 8, 14, 20, 24, 28, 32, 36};
  expect_refused(config, ErrorCode::kUnsupported, {"kv_source_layer_ids", "V4.1"});
}

TEST(Config, RatioListMustCoverTheLayers) {
  expect_refused(flash_with("compress_ratios", std::vector<int>(42, 4)), ErrorCode::kCorrupt,
                 {"compress_ratios", "43", "42"});
  expect_refused(flash_with("compress_ratios", json::array()), ErrorCode::kCorrupt,
                 {"compress_ratios", "43", "found 0"});
  expect_refused(flash_with("compress_ratios", 4), ErrorCode::kCorrupt, {"compress_ratios"});
  expect_refused(flash_with("compress_ratios", json::array({0, "4"})), ErrorCode::kCorrupt,
                 {"compress_ratios"});
}

TEST(Config, RatioMustDivideAPage) {
  for (const int ratio : {1, 3, 5, 100, 127}) {
    json config = flash_config();
    config["compress_ratios"][5] = ratio;
    expect_refused(config, ErrorCode::kUnsupported, {"compress_ratios[5]", std::to_string(ratio)});
  }
  for (const int ratio : {129, -4}) {
    json config = flash_config();
    config["compress_ratios"][5] = ratio;
    expect_refused(config, ErrorCode::kCorrupt, {"compress_ratios", std::to_string(ratio)});
  }
}

TEST(Config, ShapesMustFitEachOther) {
  expect_refused(flash_with("qk_rope_head_dim", 512), ErrorCode::kCorrupt, {"qk_rope_head_dim"});
  expect_refused(flash_with("qk_rope_head_dim", 63), ErrorCode::kCorrupt, {"qk_rope_head_dim"});
  expect_refused(flash_with("head_dim", 500), ErrorCode::kCorrupt, {"head_dim", "64", "436"});
  expect_refused(flash_with("o_groups", 7), ErrorCode::kCorrupt, {"o_groups", "64", "7"});
  expect_refused(flash_with("num_experts_per_tok", 257), ErrorCode::kCorrupt,
                 {"num_experts_per_tok", "256", "257"});
  expect_refused(flash_with("hidden_size", 4100), ErrorCode::kCorrupt, {"hidden_size", "4100"});
  expect_refused(flash_with("moe_intermediate_size", 100), ErrorCode::kCorrupt,
                 {"moe_intermediate_size", "100"});
  expect_refused(flash_with("index_head_dim", 96), ErrorCode::kCorrupt, {"index_head_dim", "96"});
  expect_refused(flash_with("index_head_dim", 32), ErrorCode::kCorrupt, {"index_head_dim", "64"});
}

TEST(Config, NestedObjectsAreCheckedFieldByField) {
  json config = flash_config();
  config["rope_scaling"].erase("factor");
  expect_refused(config, ErrorCode::kCorrupt, {"rope_scaling", "factor", "missing"});
  config = flash_config();
  config["rope_scaling"]["type"] = "linear";
  expect_refused(config, ErrorCode::kUnsupported, {"rope_scaling", "type", "linear"});
  config = flash_config();
  config["rope_scaling"]["beta_fast"] = "fast";
  expect_refused(config, ErrorCode::kCorrupt, {"rope_scaling", "beta_fast"});
  expect_refused(flash_with("rope_scaling", 16), ErrorCode::kCorrupt, {"rope_scaling", "object"});

  config = flash_config();
  config["quantization_config"]["fmt"] = "e5m2";
  expect_refused(config, ErrorCode::kUnsupported, {"quantization_config", "fmt", "e5m2"});
  config["quantization_config"] = {{"weight_block_size", {128}}};
  expect_refused(config, ErrorCode::kCorrupt, {"weight_block_size", "2", "1"});
  config["quantization_config"] = {{"weight_block_size", {128, 0}}};
  expect_refused(config, ErrorCode::kCorrupt, {"weight_block_size"});
}

TEST(Config, TextThatIsNoJsonObjectIsCorrupt) {
  for (const std::string text : {"", "{", "null", "[]", "42", "{\"a\":}", "\xff\xfe", "{}{}"}) {
    expect_error(parse_config(text, "config.json"), ErrorCode::kCorrupt, {"config.json"});
  }
}

TEST(Config, DeepNestingAndHugeNumbersAreRefusedWithoutHarm) {
  const std::string deep = std::string(20'000, '[') + std::string(20'000, ']');
  const std::string fields = flash_config().dump();
  EXPECT_TRUE(parse_config("{\"extra\":" + deep + "," + fields.substr(1), "config.json").ok());
  expect_error(parse_config(deep, "config.json"), ErrorCode::kCorrupt, {"config.json"});
  for (const std::string field : {"vocab_size", "model_type", "rms_norm_eps", "rope_scaling"}) {
    json others = flash_config();
    others.erase(field);
    const std::string bottomless = std::string(1'000'000, '[') + std::string(1'000'000, ']');
    expect_error(parse_config("{\"" + field + "\":" + bottomless + "," + others.dump().substr(1),
                              "config.json"),
                 field == "model_type" ? ErrorCode::kUnsupported : ErrorCode::kCorrupt, {field});
  }
  for (const std::string number : {"1e999", "-1e999", "123456789012345678901234567890"}) {
    expect_error(parse_config("{\"model_type\":\"deepseek_v4\",\"vocab_size\":" + number + "}",
                              "config.json"),
                 ErrorCode::kCorrupt, {"config.json"});
  }
}

TEST(Config, DirectoryThatIsNoModelIsNotFound) {
  const TemporaryDir dir;
  expect_error(load_config(dir.path() / "absent"), ErrorCode::kNotFound, {"absent", "nothing"});
  expect_error(load_config(dir.path()), ErrorCode::kNotFound, {dir.path().string(), "config.json"});
  std::ofstream(dir.path() / "file") << "x";
  expect_error(load_config(dir.path() / "file"), ErrorCode::kNotFound, {"a file"});
}

}  // namespace
}  // namespace precis
