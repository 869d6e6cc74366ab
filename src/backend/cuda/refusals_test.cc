// What the CUDA backend refuses, in words that say why; none of it needs a GPU.
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "backend/cuda/device.h"
#include "backend/cuda/limits.h"
#include "ops/backend.h"

namespace precis::cuda {
namespace {

void expect_words(const Error& error, ErrorCode code, const std::vector<std::string>& words) {
  EXPECT_EQ(error.code, code) << error.message;
  for (const std::string& word : words) {
    EXPECT_NE(error.message.find(word), std::string::npos)
        << "message: " << error.message << "\nwanted in it: " << word;
  }
}

constexpr ModelSizes kFlash{{448, 64}, {128}, 4, 256, 6};

TEST(CudaSizes, ReleasedModelsRun) {
  EXPECT_TRUE(check_sizes(kFlash).ok());
  ModelSizes pro = kFlash;
  pro.n_experts = 384;
  EXPECT_TRUE(check_sizes(pro).ok());
}

TEST(CudaSizes, WithoutSparseLayersTheIndexWidthIsFree) {
  ModelSizes sizes = kFlash;
  sizes.index = {};
  EXPECT_TRUE(check_sizes(sizes).ok());
}

TEST(CudaSizes, UnsupportedSizesAreNamed) {
  const auto refused = [](auto change) {
    ModelSizes sizes = kFlash;
    change(sizes);
    const auto result = check_sizes(sizes);
    EXPECT_FALSE(result.ok());
    return result.ok() ? Error{} : result.error();
  };
  expect_words(refused([](ModelSizes& s) { s.index.width = 512; }), ErrorCode::kUnsupported,
               {"index row", "32, 64, 128 or 256", "found 512", "--backend cpu"});
  expect_words(refused([](ModelSizes& s) { s.kv.nope = 4096; }), ErrorCode::kUnsupported,
               {"KV row", "at most 2048", "found 4160"});
  expect_words(refused([](ModelSizes& s) { s.n_streams = 9; }), ErrorCode::kUnsupported,
               {"streams", "at most 8", "found 9"});
  expect_words(refused([](ModelSizes& s) { s.n_experts = 2000; }), ErrorCode::kUnsupported,
               {"routed experts", "found 2000"});
  expect_words(refused([](ModelSizes& s) { s.n_active_experts = 17; }), ErrorCode::kUnsupported,
               {"active experts", "found 17"});
}

TEST(CudaErrors, EachSaysWhatIsWrongWithTheDevice) {
  expect_words(device_error("cuda", cudaErrorNoDevice), ErrorCode::kUnsupported,
               {"cuda: want a GPU, found none"});
  expect_words(device_error("cuda", cudaErrorInsufficientDriver), ErrorCode::kUnsupported,
               {"driver", "found"});
  expect_words(device_error("cuda:1 (x)", cudaErrorDevicesUnavailable), ErrorCode::kBudget,
               {"cuda:1 (x)", "another process"});
  expect_words(device_error("cuda:1 (x)", cudaErrorMemoryAllocation), ErrorCode::kBudget,
               {"other processes", "no memory"});
  expect_words(device_error("cuda:1 (x)", cudaErrorECCUncorrectable), ErrorCode::kUnsupported,
               {"cuda:1 (x)", "ECC"});
}

}  // namespace
}  // namespace precis::cuda
