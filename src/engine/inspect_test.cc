#include "precis/inspect.h"

#include <algorithm>
#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "model/model_test_util.h"

namespace precis {
namespace {

const std::filesystem::path kMini = PRECIS_MODELS "/mini";
const std::filesystem::path kGolden = PRECIS_TEST_DATA "/golden/flash_fp8";

TEST(Inspect, BundledModelIsComplete) {
  const auto report = inspect_checkpoint(kMini, 100'000);
  ASSERT_TRUE(report.ok()) << report.error().message;
  EXPECT_EQ(report->name, "mini");
  EXPECT_TRUE(report->complete());
  EXPECT_TRUE(report->unexpected.empty());
  EXPECT_EQ(report->n_shards, 1);
  EXPECT_DOUBLE_EQ(report->kv_bytes_per_token, 168.0625);
  EXPECT_EQ(report->kv.fixed(), 447'488);
  EXPECT_EQ(report->kv.growing(), 21'512 * ((100'000 + 127) / 128));
  EXPECT_EQ(report->kv_comparison.v32_rows, 3'940 * 100'000);
  EXPECT_EQ(report->kv_comparison.dense_mha_bf16, std::int64_t{30'720} * 100'000);
  for (const PublishedTotals& published : report->published) EXPECT_FALSE(published.matches);
}

TEST(Inspect, SumsByKindAndByDtypeAndByLayerAreTheWhole) {
  for (const auto& dir : {kMini, kGolden}) {
    const auto report = inspect_checkpoint(dir, 0);
    ASSERT_TRUE(report.ok()) << report.error().message;
    for (const auto& sums : {report->by_kind, report->by_dtype}) {
      std::int64_t n_tensors = 0;
      std::int64_t n_bytes = 0;
      for (const BytesByKind& sum : sums) {
        n_tensors += sum.n_tensors;
        n_bytes += sum.n_bytes;
      }
      EXPECT_EQ(n_tensors, report->n_tensors);
      EXPECT_EQ(n_bytes, report->n_bytes);
    }
    std::int64_t n_parameters = 0;
    for (const BytesByKind& sum : report->by_kind) n_parameters += sum.n_parameters;
    EXPECT_EQ(n_parameters, report->n_parameters + report->n_mtp_parameters);
    std::int64_t n_bytes = 0;
    for (const LayerSummary& layer : report->layers) n_bytes += layer.n_bytes;
    for (const TensorSummary& tensor : report->tensors) {
      const bool in_layer = tensor.name.starts_with("layers.") || tensor.name.starts_with("mtp.");
      if (!in_layer) n_bytes += tensor.n_bytes;
    }
    EXPECT_EQ(n_bytes, report->n_bytes);
  }
}

TEST(Inspect, LayerScheduleIsTheConfigurations) {
  const auto report = inspect_checkpoint(kMini, 0);
  ASSERT_TRUE(report.ok()) << report.error().message;
  std::vector<std::string> kinds;
  for (const LayerSummary& layer : report->layers) kinds.push_back(layer.kind);
  EXPECT_EQ(kinds,
            (std::vector<std::string>{"window", "window", "sparse", "heavy", "sparse", "window"}));
  EXPECT_TRUE(report->layers.back().mtp);
  EXPECT_EQ(report->layers[1].routing, "hash");
  EXPECT_EQ(report->layers[2].routing, "scored");
  EXPECT_EQ(report->layers[0].rope_theta, 10'000);
  EXPECT_EQ(report->layers[2].rope_theta, 160'000);
  EXPECT_TRUE(report->layers[2].yarn);
}

TEST(Inspect, WrongMissingAndUnexpectedTensorsAreReported) {
  const TemporaryDir dir;
  const auto model = dir.copy_of(kGolden);
  change_safetensors(model / "model.safetensors", [](StoredTensors& t) {
    t.at("norm.weight").shape = {2, 64};
    t.erase("layers.3.attn.compressor.ape");
    t["extra"] = {DType::kU8, {1}, std::vector<std::byte>(1)};
  });
  const auto report = inspect_checkpoint(model, 0);
  ASSERT_TRUE(report.ok()) << report.error().message;
  EXPECT_FALSE(report->complete());
  EXPECT_EQ(report->wrong,
            std::vector<std::string>{"norm.weight: want BF16 [128], found BF16 [2, 64]"});
  EXPECT_EQ(report->missing, std::vector<std::string>{"layers.3.attn.compressor.ape"});
  EXPECT_EQ(report->unexpected, std::vector<std::string>{"extra"});
}

TEST(Inspect, MissingShardIsNamed) {
  const TemporaryDir dir;
  const auto model = dir.copy_of(kGolden);
  std::filesystem::rename(model / "model.safetensors", model / "model-00001-of-00002.safetensors");
  const nlohmann::json index = {
      {"metadata", {{"total_size", 1}}},
      {"weight_map", {{"embed.weight", "model-00002-of-00002.safetensors"}}}};
  std::ofstream(model / "model.safetensors.index.json") << index.dump();
  expect_error(inspect_checkpoint(model, 0), ErrorCode::kNotFound,
               {"model-00002-of-00002.safetensors"});
}

TEST(Inspect, ContextBeyondTheModelIsRefusedWithBothNumbers) {
  expect_error(inspect_checkpoint(kGolden, 4097), ErrorCode::kInvalidArgument, {"4096", "4097"});
  expect_error(inspect_checkpoint(kGolden, -1), ErrorCode::kInvalidArgument, {"-1"});
}

TEST(Inspect, DirectoryThatIsNoModelIsNotFound) {
  const TemporaryDir dir;
  expect_error(inspect_checkpoint(dir.path(), 0), ErrorCode::kNotFound, {dir.path().string()});
}

// A NaN scale is for loading to find.
TEST(Inspect, ReadsNoWeight) {
  const TemporaryDir dir;
  const auto model = dir.copy_of(kGolden);
  change_safetensors(model / "model.safetensors", [](StoredTensors& t) {
    std::ranges::fill(t.at("layers.0.attn.wkv.scale").bytes, std::byte{255});
  });
  const auto report = inspect_checkpoint(model, 0);
  ASSERT_TRUE(report.ok()) << report.error().message;
  EXPECT_TRUE(report->complete());
}

}  // namespace
}  // namespace precis
