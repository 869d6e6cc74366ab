// Checkpoints with one defect each: loading names the tensor and says what is wrong with it.
#include "model/weights.h"

#include <cstring>

#include <gtest/gtest.h>

#include "backend/registry.h"
#include "base/threads.h"
#include "checkpoint/safetensors.h"
#include "model/model_test_util.h"

namespace precis {
namespace {

// What loading a golden checkpoint after `change` gives.
Result<std::uint64_t> load_changed(const std::function<void(StoredTensors&)>& change) {
  const TemporaryDir dir;
  const auto model = dir.copy_of(PRECIS_TEST_DATA "/golden/flash_fp8");
  change_safetensors(model / "model.safetensors", change);
  ThreadPool threads(1);
  const auto backend = std::move(make_backend("ref", threads)).value();
  PRECIS_ASSIGN_OR_RETURN(const ModelConfig config, load_config(model));
  PRECIS_ASSIGN_OR_RETURN(const Checkpoint checkpoint, Checkpoint::open(model));
  PRECIS_ASSIGN_OR_RETURN(const ModelTensors tensors, load_tensors(config, checkpoint, *backend));
  return tensors.fingerprint;
}

void put_i64(StoredTensor& tensor, std::size_t i, std::int64_t value) {
  std::memcpy(tensor.bytes.data() + 8 * i, &value, sizeof value);
}

TEST(Weights, GoldenCheckpointLoads) {
  const auto loaded = load_changed([](StoredTensors&) {});
  EXPECT_TRUE(loaded.ok()) << loaded.error().message;
}

TEST(Weights, NanScaleByteIsNamedWithItsPlace) {
  expect_error(load_changed([](StoredTensors& tensors) {
                 tensors.at("layers.3.ffn.experts.2.w2.scale").bytes[7] = std::byte{255};
               }),
               ErrorCode::kCorrupt, {"layers.3.ffn.experts.2.w2.scale", "NaN", "element 7"});
  expect_error(load_changed([](StoredTensors& tensors) {
                 tensors.at("mtp.0.e_proj.scale").bytes[0] = std::byte{255};
               }),
               ErrorCode::kCorrupt, {"mtp.0.e_proj.scale", "NaN", "element 0"});
}

TEST(Weights, HashTableMustNameExpertsThatExist) {
  for (const std::int64_t expert :
       {std::int64_t{4}, std::int64_t{-1}, std::int64_t{1} << 32, INT64_MIN}) {
    expect_error(load_changed([&](StoredTensors& tensors) {
                   put_i64(tensors.at("layers.1.ffn.gate.tid2eid"), 2 * 77 + 1, expert);
                 }),
                 ErrorCode::kCorrupt,
                 {"layers.1.ffn.gate.tid2eid", "0 … 3", std::to_string(expert), "token 77"});
  }
}

TEST(Weights, WrongDtypeAndShapeAreNamed) {
  expect_error(load_changed([](StoredTensors& tensors) {
                 StoredTensor& tensor = tensors.at("layers.0.attn.kv_norm.weight");
                 tensor.dtype = DType::kF16;
               }),
               ErrorCode::kCorrupt, {"layers.0.attn.kv_norm.weight", "BF16", "F16"});
  expect_error(load_changed([](StoredTensors& tensors) {
                 tensors.at("layers.4.attn.wo_a.weight").shape = {64, 256};
               }),
               ErrorCode::kCorrupt, {"layers.4.attn.wo_a.weight", "[128, 128]", "[64, 256]"});
}

TEST(Weights, MissingTensorIsNamed) {
  expect_error(load_changed([](StoredTensors& tensors) { tensors.erase("hc_head_scale"); }),
               ErrorCode::kCorrupt, {"hc_head_scale", "missing"});
}

TEST(Weights, FingerprintTellsCheckpointsApart) {
  const auto same = load_changed([](StoredTensors&) {});
  const auto again = load_changed([](StoredTensors&) {});
  const auto changed = load_changed(
      [](StoredTensors& tensors) { tensors.at("norm.weight").bytes[0] ^= std::byte{1}; });
  ASSERT_TRUE(same.ok() && again.ok() && changed.ok());
  EXPECT_EQ(*same, *again);
  EXPECT_NE(*same, *changed);
}

}  // namespace
}  // namespace precis
