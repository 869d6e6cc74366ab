// Golden checkpoints of the official implementation, layer by layer, on both backends; and that
// the comparison notices what is wrong.
#include <cstring>
#include <filesystem>

#include <gtest/gtest.h>

#include "precis/verify.h"

#include "model/config.h"
#include "model/model_test_util.h"

namespace precis {
namespace {

const std::filesystem::path kGolden = PRECIS_TEST_DATA "/golden";

VerifyReport run(const std::filesystem::path& model, const std::filesystem::path& expected,
                 const std::string& backend, int chunk_tokens) {
  const auto report = verify({.model = model,
                              .expected = expected,
                              .backend = backend,
                              .n_threads = 1,
                              .chunk_tokens = chunk_tokens,
                              .per_layer = true});
  EXPECT_TRUE(report.ok()) << (report.ok() ? "" : report.error().message);
  return report.ok() ? *report : VerifyReport{};
}

void expect_pass(const std::string& name, const std::string& backend, int chunk_tokens) {
  SCOPED_TRACE(name + " on " + backend + ", chunk " + std::to_string(chunk_tokens));
  const VerifyReport report =
      run(kGolden / name, kGolden / name / "expected.safetensors", backend, chunk_tokens);
  EXPECT_EQ(report.failures, std::vector<std::string>{});
  EXPECT_EQ(report.per_layer.size(), 5u);
  EXPECT_TRUE(report.has_mtp);
}

TEST(Conformance, CpuPassesInEveryChunk) {
  for (const char* name : {"flash_bf16", "flash_fp8", "pro_fp8"}) {
    for (const int chunk : {1, 7, 64, 128, 1000}) expect_pass(name, "cpu", chunk);
  }
}

TEST(Conformance, RefPasses) {
  for (const char* name : {"flash_bf16", "flash_fp8", "pro_fp8"}) expect_pass(name, "ref", 64);
}

// A golden checkpoint with its weights or its expected values changed.
class ConformanceFails : public testing::Test {
 protected:
  VerifyReport with_changed(const char* file, const std::function<void(StoredTensors&)>& change) {
    const TemporaryDir dir;
    const auto model = dir.copy_of(kGolden / "flash_bf16");
    change_safetensors(model / file, change);
    return run(model, model / "expected.safetensors", "cpu", 64);
  }
  static void expect_failure(const VerifyReport& report, const std::string& what) {
    EXPECT_FALSE(report.pass());
    bool found = false;
    for (const std::string& failure : report.failures) {
      found = found || failure.find(what) != std::string::npos;
    }
    EXPECT_TRUE(found) << what << " is not among " << testing::PrintToString(report.failures);
  }
  // Scales every element of an F32 tensor.
  static void scale(StoredTensor& tensor, float factor) {
    for (std::size_t i = 0; i + 4 <= tensor.bytes.size(); i += 4) {
      float value;
      std::memcpy(&value, tensor.bytes.data() + i, 4);
      value *= factor;
      std::memcpy(tensor.bytes.data() + i, &value, 4);
    }
  }
};

TEST_F(ConformanceFails, WhereTheExpectedValuesAreAnotherCheckpoints) {
  expect_failure(
      run(kGolden / "flash_bf16", kGolden / "flash_fp8" / "expected.safetensors", "cpu", 64),
      "end to end logits");
}

TEST_F(ConformanceFails, WhereASubLayerIsOffByOnePartInTenThousand) {
  expect_failure(with_changed("expected.safetensors",
                              [](StoredTensors& t) { scale(t.at("attn_out.3"), 1.0001F); }),
                 "layer 3 attn_out");
  expect_failure(with_changed("expected.safetensors",
                              [](StoredTensors& t) { scale(t.at("ffn_out.1"), 1.0001F); }),
                 "layer 1 ffn_out");
}

TEST_F(ConformanceFails, WhereRowsAreOff) {
  expect_failure(
      with_changed("expected.safetensors", [](StoredTensors& t) { scale(t.at("rows.2"), 1.001F); }),
      "layer 2 rows that differ");
  expect_failure(with_changed("expected.safetensors",
                              [](StoredTensors& t) { scale(t.at("index_rows.4"), 2); }),
                 "layer 4 index rows that differ");
}

TEST_F(ConformanceFails, WhereOtherRowsAreSelected) {
  expect_failure(with_changed("expected.safetensors",
                              [](StoredTensors& t) {
                                StoredTensor& topk = t.at("topk.2");
                                for (std::size_t i = 0; i < topk.bytes.size(); i += 4) {
                                  std::int32_t row;
                                  std::memcpy(&row, topk.bytes.data() + i, 4);
                                  row = row < 0 ? row : 36 - row;
                                  std::memcpy(topk.bytes.data() + i, &row, 4);
                                }
                              }),
                 "layer 2 selection");
}

TEST_F(ConformanceFails, WhereTheDraftBlockIsOff) {
  expect_failure(with_changed("expected.safetensors",
                              [](StoredTensors& t) { scale(t.at("mtp.logits"), 1.1F); }),
                 "MTP logits");
}

TEST_F(ConformanceFails, WhereAWeightIsOff) {
  expect_failure(
      with_changed("model.safetensors",
                   [](StoredTensors& t) { scale(t.at("layers.2.attn.attn_sink"), 1.1F); }),
      "layer 2 attn_out");
  expect_failure(with_changed("model.safetensors",
                              [](StoredTensors& t) {
                                scale(t.at("layers.4.attn.indexer.compressor.ape"), -3);
                              }),
                 "layer 4");
}

TEST(Conformance, DefectiveExpectedFilesAreNamed) {
  const TemporaryDir dir;
  const auto model = dir.copy_of(kGolden / "flash_bf16");
  const auto expected = model / "expected.safetensors";
  const auto result = [&] {
    return verify({.model = model, .expected = expected, .backend = "cpu", .per_layer = true});
  };
  change_safetensors(expected, [](StoredTensors& t) { t.erase("attn_out.3"); });
  expect_error(result(), ErrorCode::kNotFound, {"expected.safetensors", "attn_out.3"});
  change_safetensors(expected, [](StoredTensors& t) { t.at("rows.2").shape = {128, 37}; });
  expect_error(result(), ErrorCode::kCorrupt, {"rows.2", "[37, 128]", "[128, 37]"});
  change_safetensors(expected, [](StoredTensors& t) { t.erase("input_ids"); });
  expect_error(result(), ErrorCode::kCorrupt, {"input_ids", "I32"});
  std::filesystem::remove(expected);
  expect_error(result(), ErrorCode::kNotFound, {"expected.safetensors"});
}

}  // namespace
}  // namespace precis
