// The table of tensors against the published totals of the released checkpoints.
#include "model/tensor_table.h"

#include <algorithm>
#include <array>
#include <map>
#include <numeric>
#include <set>
#include <string>

#include <gtest/gtest.h>

#include "base/integers.h"
#include "checkpoint/safetensors.h"
#include "model/model_test_util.h"
#include "model/released_configs.h"

namespace precis {
namespace {

struct Totals {
  std::int64_t n_tensors = 0;
  std::int64_t n_bytes = 0;
  std::map<DType, std::int64_t> by_dtype;
  std::int64_t n_parameters = 0;

  void add(DType dtype, std::int64_t bytes) {
    ++n_tensors;
    ++by_dtype[dtype];
    n_bytes += bytes;
  }
};

// Matrices that the release leaves in BF16.
bool is_bf16_matrix(const std::string& name) {
  return std::ranges::any_of(
      std::array{"embed", "head", "ffn.gate", "weights_proj", "compressor.wkv", "compressor.wgate",
                 "markov_w1", "markov_w2", "confidence_head.proj"},
      [&](std::string_view end) { return name.ends_with(end); });
}

// Adds a tensor, with its scale, in the released dtypes.
void add_as_released(Totals& totals, const TensorSpec& spec) {
  const std::int64_t n =
      std::accumulate(spec.shape.begin(), spec.shape.end(), std::int64_t{1}, std::multiplies<>());
  totals.n_parameters += n_parameters(spec);
  if (spec.form == TensorForm::kTable) {
    totals.add(DType::kI64, 8 * n);
  } else if (spec.form != TensorForm::kMatrix) {
    const bool bf16 = spec.name.ends_with("norm.weight");
    totals.add(bf16 ? DType::kBf16 : DType::kF32, (bf16 ? 2 : 4) * n);
  } else if (is_bf16_matrix(spec.name)) {
    totals.add(DType::kBf16, 2 * n);
  } else if (spec.name.find(".experts.") != std::string::npos) {
    totals.add(DType::kI8, n / 2);
    totals.add(DType::kF8E8M0, n / 32);
  } else {
    totals.add(DType::kF8E4M3, n);
    totals.add(DType::kF8E8M0, ceil_div(spec.shape[0], 128) * ceil_div(spec.shape[1], 128));
  }
}

template <typename Keep>
Totals totals_of(const nlohmann::json& config, const Keep& keep) {
  const auto parsed = parse_config(config.dump(), "config.json");
  EXPECT_TRUE(parsed.ok()) << (parsed.ok() ? "" : parsed.error().message);
  Totals totals;
  for (const TensorSpec& spec : expected_tensors(parsed.value())) {
    if (keep(spec)) add_as_released(totals, spec);
  }
  return totals;
}

bool all(const TensorSpec&) {
  return true;
}
bool main_model(const TensorSpec& spec) {
  return !spec.mtp;
}
bool draft(const TensorSpec& spec) {
  return spec.mtp;
}
auto layer(int n) {
  return [n](const TensorSpec& spec) { return spec.layer == n; };
}
bool routed(const TensorSpec& spec) {
  return !spec.mtp && spec.group == TensorGroup::kRoutedExperts;
}
bool top_level(const TensorSpec& spec) {
  return !spec.mtp && spec.layer < 0;
}

// Counts in the order BF16, F32, F8_E4M3, F8_E8M0, I64, I8.
void expect_totals(const Totals& got, std::int64_t n_tensors, std::int64_t n_bytes,
                   const std::array<std::int64_t, 6>& by_dtype) {
  EXPECT_EQ(got.n_tensors, n_tensors);
  EXPECT_EQ(got.n_bytes, n_bytes);
  const std::map<DType, std::int64_t> want = {
      {DType::kBf16, by_dtype[0]},   {DType::kF32, by_dtype[1]}, {DType::kF8E4M3, by_dtype[2]},
      {DType::kF8E8M0, by_dtype[3]}, {DType::kI64, by_dtype[4]}, {DType::kI8, by_dtype[5]}};
  EXPECT_EQ(got.by_dtype, want);
}

TEST(TensorTable, FlashHasThePublishedTensorsAndBytes) {
  expect_totals(totals_of(flash_config(), all), 69'187, 159'609'485'896,
                {433, 417, 375, 34'167, 3, 33'792});
  const Totals main = totals_of(flash_config(), main_model);
  EXPECT_EQ(main.n_tensors, 67'612);
  EXPECT_EQ(main.n_bytes, 156'015'698'140);
}

TEST(TensorTable, Flash0731HasThePublishedTensorsAndBytes) {
  expect_totals(totals_of(with_drafter(flash_config(), 256), all), 72'317, 166'878'536'440,
                {445, 433, 390, 35'718, 3, 35'328});
}

TEST(TensorTable, ProHasThePublishedTensorsAndBytes) {
  expect_totals(totals_of(pro_config(), all), 145'116, 864'704'792'696,
                {619, 590, 528, 71'952, 3, 71'424});
  const Totals main = totals_of(pro_config(), main_model);
  EXPECT_EQ(main.n_tensors, 142'773);
  EXPECT_EQ(main.n_bytes, 850'748'205'004);
}

TEST(TensorTable, Pro0813HasTheComputedTensorsAndBytes) {
  expect_totals(totals_of(with_drafter(pro_config(), 512), all), 149'782, 892'727'580'904,
                {631, 606, 543, 74'271, 3, 73'728});
}

TEST(TensorTable, PartsOfFlashHaveThePublishedBytes) {
  const auto bytes = [](const auto& keep) { return totals_of(flash_config(), keep).n_bytes; };
  EXPECT_EQ(bytes(routed), 147'169'738'752);
  EXPECT_EQ(bytes(top_level), 2'118'393'876);
  EXPECT_EQ(bytes(draft), 3'593'787'756);
  EXPECT_EQ(bytes(layer(0)), 3'566'148'952);
  EXPECT_EQ(bytes(layer(2)), 3'596'055'640);
  EXPECT_EQ(bytes(layer(4)), 3'589'851'224);
  EXPECT_EQ(bytes(layer(3)), 3'568'596'312);
  EXPECT_EQ(totals_of(with_drafter(flash_config(), 256), draft).n_bytes, 10'862'838'300);
}

TEST(TensorTable, PartsOfProHaveThePublishedBytes) {
  const auto bytes = [](const auto& keep) { return totals_of(pro_config(), keep).n_bytes; };
  EXPECT_EQ(bytes(routed), 822'054'223'872);
  EXPECT_EQ(bytes(top_level), 3'707'189'268);
  EXPECT_EQ(bytes(draft), 13'956'587'692);
  EXPECT_EQ(bytes(layer(1)), 13'874'466'328);
  EXPECT_EQ(bytes(layer(2)), 13'909'746'200);
  EXPECT_EQ(bytes(layer(4)), 13'903'542'296);
  EXPECT_EQ(bytes(layer(3)), 13'868'262'424);
  EXPECT_EQ(totals_of(with_drafter(pro_config(), 512), draft).n_bytes, 41'979'375'900);
}

// Scales and the integer tables of hash routing count for nothing.
TEST(TensorTable, ParametersAreThePublishedOnes) {
  EXPECT_EQ(totals_of(flash_config(), main_model).n_parameters, 284'332'240'471);
  EXPECT_EQ(totals_of(flash_config(), draft).n_parameters, 6'610'048'891);
  EXPECT_EQ(totals_of(pro_config(), main_model).n_parameters, 1'572'997'201'763);
  EXPECT_EQ(totals_of(pro_config(), draft).n_parameters, 25'840'145'979);
}

TEST(TensorTable, NamesAreDistinct) {
  auto specs = expected_tensors(parse_config(flash_config().dump(), "config.json").value());
  std::set<std::string> names;
  for (const TensorSpec& spec : specs) names.insert(spec.weight_name());
  EXPECT_EQ(names.size(), specs.size());
}

// A golden checkpoint after `change`, held against its configuration.
TensorCheck check_changed(const std::function<void(StoredTensors&)>& change) {
  const TemporaryDir dir;
  const auto model = dir.copy_of(PRECIS_TEST_DATA "/golden/flash_fp8");
  change_safetensors(model / "model.safetensors", change);
  const ModelConfig config = load_config(model).value();
  const auto checkpoint = Checkpoint::open(model);
  EXPECT_TRUE(checkpoint.ok()) << (checkpoint.ok() ? "" : checkpoint.error().message);
  return check_tensors(config, expected_tensors(config), checkpoint.value());
}

TEST(CheckTensors, CompleteCheckpointHasNothingToReport) {
  const TensorCheck check = check_changed([](StoredTensors&) {});
  EXPECT_TRUE(check.missing.empty());
  EXPECT_TRUE(check.wrong.empty());
  EXPECT_TRUE(check.unexpected.empty());
}

TEST(CheckTensors, MissingWeightsAndScalesAreNamed) {
  const TensorCheck check = check_changed([](StoredTensors& tensors) {
    tensors.erase("layers.2.attn.indexer.compressor.ape");
    tensors.erase("layers.0.attn.wkv.scale");
  });
  EXPECT_EQ(check.missing, (std::vector<std::string>{"layers.0.attn.wkv.scale",
                                                     "layers.2.attn.indexer.compressor.ape"}));
}

TEST(CheckTensors, WrongShapeAndDtypeSayWhatWasWantedAndFound) {
  const TensorCheck check = check_changed([](StoredTensors& tensors) {
    tensors.at("norm.weight").shape = {2, 64};
    tensors.at("layers.1.attn.attn_sink") = {DType::kI64, {2}, std::vector<std::byte>(16)};
    tensors.at("layers.2.ffn.experts.1.w1.scale").shape = {4, 128};
  });
  ASSERT_EQ(check.wrong.size(), 3u);
  EXPECT_EQ(check.wrong[0], "layers.1.attn.attn_sink: want BF16 [2], found I64 [2]");
  EXPECT_EQ(check.wrong[1],
            "layers.2.ffn.experts.1.w1.scale: want F8_E8M0 [128, 4], found F8_E8M0 [4, 128]");
  EXPECT_EQ(check.wrong[2], "norm.weight: want BF16 [128], found BF16 [2, 64]");
}

TEST(CheckTensors, UnknownTensorsAreNamedButNotTheDraftBlocksCopiesOfEmbeddingAndHead) {
  const TensorCheck check = check_changed([](StoredTensors& tensors) {
    tensors["layers.9.attn.wkv.weight"] = {DType::kBf16, {1}, std::vector<std::byte>(2)};
    tensors["mtp.0.embed.weight"] = {DType::kBf16, {1}, std::vector<std::byte>(2)};
    tensors["mtp.0.head.weight"] = {DType::kBf16, {1}, std::vector<std::byte>(2)};
  });
  EXPECT_EQ(check.unexpected, std::vector<std::string>{"layers.9.attn.wkv.weight"});
}

}  // namespace
}  // namespace precis
