#include "checkpoint/safetensors.h"

#include <algorithm>
#include <cerrno>
#include <fstream>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "base/bytes.h"
#include "checkpoint/writer.h"

namespace precis {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

TensorToWrite u8_tensor(std::string name, std::string_view content) {
  return {{std::move(name), DType::kU8, {static_cast<std::int64_t>(content.size())}},
          as_bytes(content)};
}

class CheckpointTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "precis-ckpt-XXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    directory_ = name;
  }
  void TearDown() override { fs::remove_all(directory_); }

  void put(const std::string& name, const std::string& content) {
    std::ofstream(directory_ / name, std::ios::binary) << content;
  }
  void put_shard(const std::string& name, std::vector<TensorToWrite> tensors) {
    const auto written = write_safetensors(directory_ / name, tensors);
    ASSERT_TRUE(written.ok()) << written.error().message;
  }
  void put_index(const json& weight_map) {
    put("model.safetensors.index.json",
        json{{"metadata", {{"total_size", 0}}}, {"weight_map", weight_map}}.dump());
  }
  // Shards s1 {a, c} and s2 {b}, and the index that fits them.
  void put_sharded_model() {
    put("config.json", "{}");
    put_shard("s1", {u8_tensor("a", "AA"), u8_tensor("c", "CCC")});
    put_shard("s2", {u8_tensor("b", "BBBB")});
    put_index({{"a", "s1"}, {"b", "s2"}, {"c", "s1"}});
  }
  void expect_refused(ErrorCode code, std::string_view what) {
    const auto checkpoint = Checkpoint::open(directory_);
    ASSERT_FALSE(checkpoint.ok());
    EXPECT_EQ(checkpoint.error().code, code) << checkpoint.error().message;
    EXPECT_NE(checkpoint.error().message.find(what), std::string::npos)
        << checkpoint.error().message << "\nwanted in it: " << what;
  }

  fs::path directory_;
};

std::string text_of(const Checkpoint& checkpoint, std::string_view name) {
  const TensorInfo* tensor = checkpoint.find(name);
  if (tensor == nullptr) return "absent";
  const auto bytes = checkpoint.bytes(*tensor);
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

TEST_F(CheckpointTest, WrittenTensorsReadBack) {
  const std::vector<float> values = {1.5f, -2.0f, 3.0f};
  const std::vector<TensorToWrite> tensors = {
      u8_tensor("codes", "odd"),
      {{"values", DType::kF32, {3, 1}}, std::as_bytes(std::span(values))},
      {{"nothing", DType::kBf16, {0, 4}}, {}},
      {{"scalar", DType::kI8, {}}, as_bytes("x")},
  };
  const fs::path path = directory_ / "w.safetensors";
  ASSERT_TRUE(write_safetensors(path, tensors, {{"format", "pt"}}).ok());

  const auto checkpoint = Checkpoint::open(path);
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.error().message;
  EXPECT_EQ(checkpoint->metadata().at("format"), "pt");
  EXPECT_EQ(checkpoint->payload_bytes(), 12u + 3 + 1);
  EXPECT_EQ(text_of(*checkpoint, "codes"), "odd");
  EXPECT_EQ(text_of(*checkpoint, "scalar"), "x");
  EXPECT_EQ(text_of(*checkpoint, "nothing"), "");
  const TensorInfo& info = *checkpoint->find("values");
  EXPECT_EQ(info.dtype, DType::kF32);
  EXPECT_EQ(info.shape, (std::vector<std::int64_t>{3, 1}));
  EXPECT_EQ(info.offset % sizeof(float), 0u);  // though an odd tensor was listed before it
  EXPECT_TRUE(std::ranges::equal(checkpoint->bytes(info), std::as_bytes(std::span(values))));
  checkpoint->advise(info, Access::kWillNeed);
}

TEST_F(CheckpointTest, FullDiskLeavesNoFile) {
  const ScopedWriteFault fault(30, ENOSPC);
  const std::vector<TensorToWrite> tensors = {u8_tensor("a", "AA")};
  const auto written = write_safetensors(directory_ / "w", tensors);
  ASSERT_FALSE(written.ok());
  EXPECT_EQ(written.error().code, ErrorCode::kIo);
  EXPECT_TRUE(fs::is_empty(directory_));
}

TEST_F(CheckpointTest, FindKnowsExactNamesOnly) {
  put_sharded_model();
  const auto checkpoint = Checkpoint::open(directory_);
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.error().message;
  for (const char* name : {"", "A", "aa", "bb", "d"}) {
    EXPECT_EQ(checkpoint->find(name), nullptr) << name;
  }
}

TEST_F(CheckpointTest, ShardsAreOneNameSpace) {
  put_sharded_model();
  const auto checkpoint = Checkpoint::open(directory_);
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.error().message;
  ASSERT_EQ(checkpoint->shards().size(), 2u);
  ASSERT_EQ(checkpoint->tensors().size(), 3u);
  EXPECT_EQ(checkpoint->tensors()[1].name, "b");
  EXPECT_EQ(checkpoint->shards()[checkpoint->tensors()[1].shard_idx].path.filename(), "s2");
  EXPECT_EQ(text_of(*checkpoint, "a"), "AA");
  EXPECT_EQ(text_of(*checkpoint, "b"), "BBBB");
  EXPECT_EQ(text_of(*checkpoint, "c"), "CCC");
}

TEST_F(CheckpointTest, DirectoryWithOneFileNeedsNoIndex) {
  put("config.json", "{}");
  put_shard("model.safetensors", {u8_tensor("a", "AA")});
  const auto checkpoint = Checkpoint::open(directory_);
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.error().message;
  EXPECT_EQ(text_of(*checkpoint, "a"), "AA");
}

TEST_F(CheckpointTest, IncompleteDirectoriesSayWhatAModelNeeds) {
  expect_refused(ErrorCode::kNotFound, "found no config.json");
  put("config.json", "{}");
  expect_refused(ErrorCode::kNotFound, "found no weights");
  expect_refused(ErrorCode::kNotFound, "model.safetensors.index.json");
  directory_ /= "absent";
  expect_refused(ErrorCode::kNotFound, "absent: cannot open");
}

TEST_F(CheckpointTest, MissingShardIsNamed) {
  put_sharded_model();
  fs::remove(directory_ / "s2");
  expect_refused(ErrorCode::kNotFound, "want the shard s2");
}

TEST_F(CheckpointTest, CorruptShardIsNamed) {
  put_sharded_model();
  fs::resize_file(directory_ / "s2", fs::file_size(directory_ / "s2") - 1);
  expect_refused(ErrorCode::kCorrupt, "s2: tensor b: want data within the payload of 3 bytes");
}

TEST_F(CheckpointTest, IndexEntryWithoutTensorIsRefused) {
  put_sharded_model();
  put_index({{"a", "s1"}, {"b", "s2"}, {"c", "s1"}, {"d", "s1"}});
  expect_refused(ErrorCode::kCorrupt, "tensor d: want it in s1, found no such tensor");
}

TEST_F(CheckpointTest, TensorWithoutIndexEntryIsRefused) {
  put_sharded_model();
  put_index({{"a", "s1"}, {"b", "s2"}});
  expect_refused(ErrorCode::kCorrupt, "want every tensor of s1, found no entry for c");
}

TEST_F(CheckpointTest, TensorInAnotherShardIsRefused) {
  put_sharded_model();
  put_index({{"a", "s1"}, {"b", "s2"}, {"c", "s2"}});
  expect_refused(ErrorCode::kCorrupt, "tensor c: want it in s2, found it in s1");
}

TEST_F(CheckpointTest, NameInTwoShardsIsRefused) {
  put_sharded_model();
  put_shard("s2", {u8_tensor("b", "BBBB"), u8_tensor("c", "CCC")});
  expect_refused(ErrorCode::kCorrupt, "tensor c: want it in one shard, found it in ");
}

TEST_F(CheckpointTest, MalformedIndexIsRefused) {
  put_sharded_model();
  const char* kIndex = "model.safetensors.index.json";
  put(kIndex, "{\"weight_map\":");
  expect_refused(ErrorCode::kCorrupt, "index.json: want JSON, found a syntax error");
  for (const char* text : {"[]", "{}", "3", "{\"weight_map\":[]}"}) {
    put(kIndex, text);
    expect_refused(ErrorCode::kCorrupt, "want an object weight_map");
  }
  put_index(json::object());
  expect_refused(ErrorCode::kCorrupt, "want tensors in weight_map");
  put_index({{"a", 3}});
  expect_refused(ErrorCode::kCorrupt, "tensor a: want a file name, found number");
}

TEST_F(CheckpointTest, IndexCannotLeaveTheDirectory) {
  put_sharded_model();
  for (const char* name : {"", ".", "..", "../s1", "/etc/passwd", "sub/s1"}) {
    put_index({{"a", name}});
    expect_refused(ErrorCode::kCorrupt, "want a file name without directories");
  }
}

TEST_F(CheckpointTest, WriterTakesThePayloadInAnyPieces) {
  const std::vector<TensorHeader> specs = {{"a", DType::kU8, {3}}, {"b", DType::kU8, {5}}};
  const fs::path path = directory_ / "w";
  auto writer = SafetensorsWriter::create(path, specs, {});
  ASSERT_TRUE(writer.ok());
  for (const char* piece : {"12", "345", "", "678"}) {
    ASSERT_TRUE(writer->append(as_bytes(piece)).ok());
  }
  EXPECT_FALSE(fs::exists(path));
  ASSERT_TRUE(writer->commit().ok());
  const auto checkpoint = Checkpoint::open(path);
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.error().message;
  EXPECT_EQ(text_of(*checkpoint, "a"), "123");
  EXPECT_EQ(text_of(*checkpoint, "b"), "45678");
}

// The release holds 69,187 tensors in the same manner: many names, small entries.
TEST_F(CheckpointTest, SeventyThousandTensorsOpen) {
  std::vector<TensorHeader> specs;
  for (int i = 0; i < 70'000; ++i) {
    specs.push_back({"layers." + std::to_string(i % 43) + ".ffn.experts." + std::to_string(i / 43) +
                         ".w1.weight",
                     DType::kI8,
                     {1, 1}});
  }
  const fs::path path = directory_ / "w";
  auto writer = SafetensorsWriter::create(path, specs, {});
  ASSERT_TRUE(writer.ok());
  ASSERT_TRUE(writer->append(as_bytes(std::string(70'000, 'x'))).ok());
  ASSERT_TRUE(writer->commit().ok());
  const auto checkpoint = Checkpoint::open(path);
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.error().message;
  EXPECT_EQ(checkpoint->tensors().size(), 70'000u);
  EXPECT_EQ(text_of(*checkpoint, "layers.42.ffn.experts.1000.w1.weight"), "x");
}

TEST(BundledCheckpoint, MiniOpens) {
  const auto checkpoint = Checkpoint::open(fs::path(PRECIS_MODELS) / "mini");
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.error().message;
  EXPECT_EQ(checkpoint->tensors().size(), 792u);
  ASSERT_NE(checkpoint->find("embed.weight"), nullptr);
  EXPECT_EQ(checkpoint->find("embed.weight")->dtype, DType::kBf16);
}

}  // namespace
}  // namespace precis
