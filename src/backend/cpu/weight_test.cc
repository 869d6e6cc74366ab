// Weights in panel layout, seen through products.
#include "backend/cpu/weight.h"

#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include <gtest/gtest.h>

#include "backend/cpu/backend.h"
#include "tensor/bf16.h"
#include "tensor/float8.h"

namespace precis {
namespace {

// A backend on the best instruction set of this machine; the tests below hold on any.
class CpuWeightTest : public testing::Test {
 protected:
  std::vector<float> product(const Weight& weight, std::vector<float> x) {
    const auto n_rows = std::ssize(x) / weight.n_in();
    std::vector<float> out(static_cast<std::size_t>(n_rows * weight.n_out()));
    const LinearTarget target{&weight, Mat<float>(out.data(), n_rows, weight.n_out())};
    LinearArgs args;
    args.x = Mat<const float>(x.data(), n_rows, weight.n_in());
    args.targets = {&target, 1};
    backend_->linear(args);
    return out;
  }

  ThreadPool threads_{2};
  std::unique_ptr<Backend> backend_ = make_cpu_backend(threads_).value();
};

// A unit vector picks one column, so every element of the matrix is seen at its place.
TEST_F(CpuWeightTest, EveryElementOfARaggedMatrixKeepsItsPlace) {
  constexpr int kOut = 37, kIn = 130;
  std::vector<bf16> values(kOut * kIn);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = bf16(static_cast<float>(i % 251) + 1);
  WeightSource source{WeightFormat::kBf16, kOut, kIn,
                      reinterpret_cast<const std::byte*>(values.data())};
  const auto weight = backend_->load_weight(source);
  for (int k = 0; k < kIn; ++k) {
    std::vector<float> x(kIn, 0.0f);
    x[static_cast<std::size_t>(k)] = 1;
    const std::vector<float> out = product(*weight, x);
    for (int n = 0; n < kOut; ++n) {
      ASSERT_EQ(out[static_cast<std::size_t>(n)], values[static_cast<std::size_t>(n * kIn + k)])
          << "output " << n << " input " << k;
    }
  }
}

// One NaN code in row 5: row 5 is NaN, for one token and for many, and no other row is.
TEST_F(CpuWeightTest, NanCodeStaysInItsOwnRow) {
  constexpr int kOut = 32, kIn = 256;
  std::vector<std::uint8_t> codes(kOut * kIn, 0x38);
  codes[5 * kIn + 200] = 0xff;
  const std::array<std::uint8_t, 2> scales = {127, 127};
  const WeightSource source{
      WeightFormat::kFp8Block, kOut, kIn, reinterpret_cast<const std::byte*>(codes.data()),
      scales.data(),           128,  128};
  const auto weight = backend_->load_weight(source);
  for (const int n_rows : {1, 40}) {
    const std::vector<float> out =
        product(*weight, std::vector<float>(static_cast<std::size_t>(n_rows * kIn), 1.0f));
    for (std::size_t i = 0; i < out.size(); ++i) {
      if (i % kOut == 5) {
        ASSERT_TRUE(std::isnan(out[i])) << i;
      } else {
        ASSERT_EQ(out[i], kIn) << i;
      }
    }
  }
}

TEST_F(CpuWeightTest, EveryE4m3CodeDecodesToItsValueTimesTheScale) {
  std::vector<std::uint8_t> codes(256);
  for (std::size_t i = 0; i < 256; ++i) codes[i] = static_cast<std::uint8_t>(i);
  for (const std::uint8_t scale : {0, 1, 100, 127, 150, 240, 246}) {
    const std::array<std::uint8_t, 2> scales = {scale, scale};
    const WeightSource source{
        WeightFormat::kFp8Block, 256, 1,  reinterpret_cast<const std::byte*>(codes.data()),
        scales.data(),           128, 128};
    const auto weight = backend_->load_weight(source);
    const std::vector<float> out = product(*weight, {1.0f});
    for (std::size_t i = 0; i < 256; ++i) {
      const float want = kE4m3Values[i] * decode_e8m0(scale);
      if (std::isnan(want)) {
        EXPECT_TRUE(std::isnan(out[i]));
      } else {
        EXPECT_EQ(out[i], want) << "code " << i << " scale " << int{scale};
      }
    }
  }
}

TEST_F(CpuWeightTest, WeightBytesGrowByPaddingAndScalesOnly) {
  const WeightSource source{WeightFormat::kFp4Group, 2048, 4096, nullptr, nullptr, 1, 32};
  EXPECT_EQ(backend_->weight_bytes(source), source.code_bytes() + 2048 * 4096 / 32);
}

TEST(CpuBackend, AllocatedMemoryIsZeroAndAligned) {
  ThreadPool threads(1);
  const std::unique_ptr<Backend> backend = make_cpu_backend(threads).value();
  const Buffer buffer = backend->allocate(5000);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(buffer.data()) % 64, 0u);
  for (const std::byte byte : buffer.span<std::byte>()) ASSERT_EQ(byte, std::byte{0});
  EXPECT_EQ(backend->allocate(0).data(), nullptr);
}

}  // namespace
}  // namespace precis
