#include "model/synthetic.h"

#include <cerrno>
#include <cstring>
#include <fstream>
#include <set>

#include <gtest/gtest.h>

#include "base/file.h"
#include "checkpoint/safetensors.h"
#include "model/model_test_util.h"
#include "model/small_config_test_util.h"
#include "model/tensor_table.h"

namespace precis {
namespace {

SyntheticFiles small_files(std::uint64_t seed) {
  SyntheticFiles files;
  files.config_json = small_config_json({});
  files.seed = seed;
  return files;
}

ModelConfig small_config(const SmallConfig& shape = {}) {
  return std::move(parse_config(small_config_json(shape), "config")).value();
}

std::vector<std::byte> bytes_of(const TensorSource& source, const TensorInfo& info) {
  const TensorBytes read = source.read(info, info.n_bytes);
  return {read.view().begin(), read.view().end()};
}

TEST(Synthetic, FilesHoldTheBytesThatAreDrawnInMemory) {
  const TemporaryDir dir;
  ThreadPool threads(2);
  SyntheticFiles files = small_files(9);
  files.shard_bytes = 1 << 20;  // several shards with an index
  const auto written = write_synthetic(dir.path() / "model", files, &threads);
  ASSERT_TRUE(written.ok()) << written.error().message;
  const auto checkpoint = Checkpoint::open(dir.path() / "model");
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.error().message;
  EXPECT_GT(checkpoint->shards().size(), 1u);

  const SyntheticTensors drawn(small_config(), SyntheticDtypes::kRelease, 9);
  ASSERT_EQ(checkpoint->tensors().size(), drawn.tensors().size());
  for (const TensorInfo& info : drawn.tensors()) {
    const TensorInfo* stored = checkpoint->find(info.name);
    ASSERT_NE(stored, nullptr) << info.name;
    EXPECT_EQ(bytes_of(*checkpoint, *stored), bytes_of(drawn, info)) << info.name;
  }
}

TEST(Synthetic, CheckpointIsCompleteAndOfTheReleasedDtypes) {
  const ModelConfig config = small_config();
  const SyntheticTensors drawn(config, SyntheticDtypes::kRelease, 1);
  const TensorCheck check = check_tensors(config, expected_tensors(config), drawn);
  EXPECT_EQ(check.missing, std::vector<std::string>{});
  EXPECT_EQ(check.unexpected, std::vector<std::string>{});
  EXPECT_EQ(check.wrong, std::vector<std::string>{});
  const auto dtype = [&](const char* name) { return drawn.find(name)->dtype; };
  EXPECT_EQ(dtype("embed.weight"), DType::kBf16);
  EXPECT_EQ(dtype("layers.1.attn.wq_a.weight"), DType::kF8E4M3);
  EXPECT_EQ(dtype("layers.1.attn.wq_a.scale"), DType::kF8E8M0);
  EXPECT_EQ(dtype("layers.1.ffn.experts.7.w2.weight"), DType::kI8);
  EXPECT_EQ(dtype("layers.1.ffn.shared_experts.w2.weight"), DType::kF8E4M3);
  EXPECT_EQ(dtype("layers.1.attn.indexer.compressor.wkv.weight"), DType::kBf16);
  EXPECT_EQ(dtype("layers.1.hc_attn_fn"), DType::kF32);
  EXPECT_EQ(dtype("layers.0.ffn.gate.tid2eid"), DType::kI64);
}

TEST(Synthetic, TensorFollowsFromSeedNameAndShape) {
  const SyntheticTensors base(small_config(), SyntheticDtypes::kRelease, 1);
  const SyntheticTensors fewer(small_config({.experts = 4, .ratios = "[0,4]"}),
                               SyntheticDtypes::kRelease, 1);
  const SyntheticTensors reseeded(small_config(), SyntheticDtypes::kRelease, 2);
  const char* const kName = "layers.1.ffn.experts.3.w1.weight";
  const auto bytes = bytes_of(base, *base.find(kName));
  EXPECT_EQ(bytes, bytes_of(fewer, *fewer.find(kName)));
  EXPECT_NE(bytes, bytes_of(reseeded, *reseeded.find(kName)));
  EXPECT_NE(bytes, bytes_of(base, *base.find("layers.1.ffn.experts.2.w1.weight")));
}

TEST(Synthetic, PartsOnAnyThreadsAreThoseOfTheWhole) {
  ThreadPool threads(3);
  const ModelConfig config = small_config({.hidden = 2048, .q_lora = 1536});
  const SyntheticTensors alone(config, SyntheticDtypes::kRelease, 1);
  const SyntheticTensors shared(config, SyntheticDtypes::kRelease, 1, &threads);
  const char* const kName = "layers.0.attn.wq_a.weight";  // 3 MiB: three pieces
  const auto whole = bytes_of(alone, *alone.find(kName));
  ASSERT_GT(whole.size(), std::size_t{2} << 20);
  EXPECT_EQ(whole, bytes_of(shared, *shared.find(kName)));
  std::vector<std::byte> part(1000);
  alone.read_part(*alone.find(kName), 64 * 999, part);
  EXPECT_TRUE(std::equal(part.begin(), part.end(), whole.begin() + 64 * 999));
}

TEST(Synthetic, TokensOfAHashLayerGoToDifferentExperts) {
  const SyntheticTensors drawn(small_config(), SyntheticDtypes::kRelease, 1);
  const TensorInfo& table = *drawn.find("layers.0.ffn.gate.tid2eid");
  const auto bytes = bytes_of(drawn, table);
  std::vector<std::int64_t> experts(bytes.size() / 8);
  std::memcpy(experts.data(), bytes.data(), bytes.size());
  std::set<std::int64_t> used;
  for (std::size_t token = 0; token < experts.size() / 3; ++token) {
    const std::set<std::int64_t> places(&experts[3 * token], &experts[3 * token] + 3);
    EXPECT_EQ(places.size(), 3u) << "token " << token;
    used.insert(places.begin(), places.end());
  }
  EXPECT_EQ(used.size(), 8u);
  EXPECT_EQ(*used.rbegin(), 7);
}

TEST(Synthetic, DirectoryWithFilesIsLeftAlone) {
  const TemporaryDir dir;
  std::ofstream(dir.path() / "notes") << "mine";
  expect_error(write_synthetic(dir.path(), small_files(1)), ErrorCode::kInvalidArgument,
               {dir.path().string(), "empty", "files"});
  EXPECT_TRUE(std::filesystem::exists(dir.path() / "notes"));
  expect_error(write_synthetic(dir.path() / "notes", small_files(1)), ErrorCode::kInvalidArgument,
               {"notes", "a file"});
}

TEST(Synthetic, FullDiskLeavesNothing) {
  const TemporaryDir dir;
  expect_error(require_room(dir.path(), std::uint64_t{1} << 62), ErrorCode::kIo, {"room", "free"});
  SyntheticFiles files = small_files(1);
  files.shard_bytes = 1 << 20;
  const ScopedWriteFault fault(3 << 19, ENOSPC);  // within the second shard
  expect_error(write_synthetic(dir.path() / "model", files), ErrorCode::kIo, {"model"});
  EXPECT_TRUE(std::filesystem::is_empty(dir.path()));
}

TEST(Synthetic, StoppedWritingLeavesNothing) {
  const TemporaryDir dir;
  const auto stopped = write_synthetic(dir.path() / "model", small_files(1), nullptr,
                                       [](std::uint64_t, std::uint64_t) { return false; });
  expect_error(stopped, ErrorCode::kCancelled, {"model", "stopped"});
  EXPECT_TRUE(std::filesystem::is_empty(dir.path()));
}

}  // namespace
}  // namespace precis
