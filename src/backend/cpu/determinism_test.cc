// The promise of docs/numerics.md, bit for bit: what an operation gives for a token does not depend
// on the tokens beside it, on the number of threads, or on AVX2 against AVX-512.
#include <algorithm>
#include <bit>
#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "backend/cpu/backend.h"
#include "tensor/bf16.h"

namespace precis {
namespace {

constexpr int kTokens = 113;  // no multiple of any tile
constexpr int kWidth = 200;   // a full block of 128 and a ragged one
constexpr int kHidden = 72;   // 4 panels and a half
constexpr int kStreams = 4;
constexpr int kExperts = 5;
constexpr int kActive = 2;

std::vector<float> random_values(std::size_t n, unsigned seed) {
  std::mt19937 engine(seed);
  std::normal_distribution<float> normal;
  std::vector<float> out(n);
  for (float& value : out) value = round_to_bf16(normal(engine));
  return out;
}

// A matrix of random codes (none of them NaN) and moderate scales.
std::unique_ptr<Weight> random_weight(Backend& backend, WeightFormat format, int n_out, int n_in,
                                      unsigned seed) {
  std::mt19937 engine(seed);
  WeightSource source{format, n_out, n_in};
  std::vector<std::byte> codes(source.code_bytes());
  std::vector<std::uint8_t> scales(static_cast<std::size_t>(n_out * n_in));
  for (std::byte& code : codes) code = static_cast<std::byte>(engine() % 0x7f);
  if (format == WeightFormat::kF32 || format == WeightFormat::kBf16) {
    const std::vector<float> values = random_values(static_cast<std::size_t>(n_out * n_in), seed);
    for (std::size_t i = 0; i < values.size(); ++i) {
      const bf16 half(values[i]);
      if (format == WeightFormat::kF32) {
        std::memcpy(&codes[4 * i], &values[i], 4);
      } else {
        std::memcpy(&codes[2 * i], &half, 2);
      }
    }
  }
  for (std::uint8_t& scale : scales) scale = static_cast<std::uint8_t>(115 + engine() % 6);
  source.codes = codes.data();
  source.scales = scales.data();
  source.block_out = format == WeightFormat::kFp8Block ? 128 : 1;
  source.block_in = format == WeightFormat::kFp8Block ? 128 : 32;
  return backend.load_weight(source);
}

// What an operation gives for tokens [begin, end), as one row of `width` values for each.
struct Operation {
  const char* name;
  std::int64_t width;
  std::function<void(Backend&, int begin, int end, Mat<float> out)> run;
};

Operation linear(const char* name, WeightFormat format, InputQuant input) {
  return {name, kHidden, [=](Backend& backend, int begin, int end, Mat<float> out) {
            const auto weight = random_weight(backend, format, kHidden, kWidth, 1);
            const std::vector<float> x = random_values(kTokens * kWidth, 2);
            const LinearTarget target{weight.get(), out};
            LinearArgs args;
            args.x = Mat<const float>(x.data(), kTokens, kWidth).slice_rows(begin, end - begin);
            args.targets = {&target, 1};
            args.input = input;
            backend.linear(args);
          }};
}

Operation hyper(int n_streams) {
  const int n_mix = n_streams * (2 + n_streams);
  return {"hyper_pre", kHidden + n_streams + n_streams * n_streams,
          [=](Backend& backend, int begin, int end, Mat<float> out) {
            const auto fn =
                random_weight(backend, WeightFormat::kF32, n_mix, n_streams * kHidden, 3);
            const std::vector<float> base = random_values(static_cast<std::size_t>(n_mix), 4);
            const std::vector<float> scale = random_values(3, 5);
            const std::vector<float> streams =
                random_values(static_cast<std::size_t>(kTokens * n_streams * kHidden), 6);
            const std::int64_t n = end - begin;
            HyperPreArgs args;
            args.streams =
                Cube<const float>(streams.data(), kTokens, n_streams, kHidden).slice(begin, n);
            args.weights = {fn.get(), base, scale};
            args.params = {1e-6f, 1e-6f, 20};
            args.x = Mat<float>(out.data, n, kHidden, out.stride);
            args.post = Mat<float>(out.data + kHidden, n, n_streams, out.stride);
            args.comb =
                Mat<float>(out.data + kHidden + n_streams, n, n_streams * n_streams, out.stride);
            backend.hyper_pre(args);
          }};
}

// Routing and experts together: the choice is part of what must not move.
Operation experts() {
  return {
      "experts", kWidth, [](Backend& backend, int begin, int end, Mat<float> out) {
        std::vector<std::unique_ptr<Weight>> weights;
        std::vector<ExpertWeights> all;
        for (unsigned e = 0; e <= kExperts; ++e) {
          const WeightFormat format =
              e < kExperts ? WeightFormat::kFp4Group : WeightFormat::kFp8Block;
          weights.push_back(random_weight(backend, format, kHidden, kWidth, 10 + 3 * e));
          weights.push_back(random_weight(backend, format, kHidden, kWidth, 11 + 3 * e));
          weights.push_back(random_weight(backend, format, kWidth, kHidden, 12 + 3 * e));
          all.push_back({weights[3 * e].get(), weights[3 * e + 1].get(), weights[3 * e + 2].get()});
        }
        const auto gate = random_weight(backend, WeightFormat::kBf16, kExperts, kWidth, 7);
        const std::vector<float> bias = random_values(kExperts, 8);
        const std::vector<float> x = random_values(kTokens * kWidth, 9);
        const std::int64_t n = end - begin;
        std::vector<std::int32_t> chosen(static_cast<std::size_t>(n * kActive));
        std::vector<float> shares(chosen.size());
        RouteArgs route;
        route.x = Mat<const float>(x.data(), kTokens, kWidth).slice_rows(begin, n);
        route.gate = gate.get();
        route.bias = bias;
        route.expert_idx = Mat<std::int32_t>(chosen.data(), n, kActive);
        route.weight = Mat<float>(shares.data(), n, kActive);
        backend.route(route);
        ExpertsArgs args;
        args.x = route.x;
        args.expert_idx = route.expert_idx;
        args.weight = route.weight;
        args.experts = std::span(all).first(kExperts);
        args.shared = all.back();
        args.swiglu_limit = 10;
        args.expert_input = InputQuant::kFp8Group128;
        args.shared_input = InputQuant::kFp8Group128;
        args.out = out;
        args.rounding = Rounding::kBf16;
        backend.experts(args);
      }};
}

const std::vector<Operation>& operations() {
  static const std::vector<Operation> all = {
      linear("linear f32", WeightFormat::kF32, InputQuant::kNone),
      linear("linear bf16", WeightFormat::kBf16, InputQuant::kNone),
      linear("linear fp8", WeightFormat::kFp8Block, InputQuant::kFp8Group128),
      linear("linear fp4", WeightFormat::kFp4Group, InputQuant::kFp8Group128),
      hyper(kStreams),
      hyper(3),
      experts(),
  };
  return all;
}

// All tokens, `step` at a time.
std::vector<float> run(const Operation& operation, Backend& backend, int step) {
  std::vector<float> out(static_cast<std::size_t>(kTokens * operation.width));
  const Mat<float> rows(out.data(), kTokens, operation.width);
  for (int begin = 0; begin < kTokens; begin += step) {
    const int end = std::min(begin + step, kTokens);
    operation.run(backend, begin, end, rows.slice_rows(begin, end - begin));
  }
  return out;
}

void expect_same_bits(const std::vector<float>& want, const std::vector<float>& got,
                      const std::string& what) {
  ASSERT_EQ(want.size(), got.size());
  for (std::size_t i = 0; i < want.size(); ++i) {
    ASSERT_EQ(std::bit_cast<std::uint32_t>(want[i]), std::bit_cast<std::uint32_t>(got[i]))
        << what << ", value " << i << ": " << want[i] << " vs " << got[i];
  }
}

std::vector<Isa> available() {
  std::vector<Isa> out = {Isa::kBaseline};
  for (const Isa isa : {Isa::kAvx2, Isa::kAvx512}) {
    if (is_available(isa)) out.push_back(isa);
  }
  return out;
}

TEST(CpuDeterminism, CuttingTheTokensKeepsTheBits) {
  ThreadPool threads(1);
  for (const Isa isa : available()) {
    CpuBackend backend(threads, isa);
    for (const Operation& operation : operations()) {
      const std::vector<float> whole = run(operation, backend, kTokens);
      for (const int step : {1, 5, 40}) {
        expect_same_bits(
            whole, run(operation, backend, step),
            std::string(operation.name) + " on " + backend.isa() + " by " + std::to_string(step));
      }
    }
  }
}

TEST(CpuDeterminism, ThreadCountKeepsTheBits) {
  ThreadPool one(1), three(3);
  for (const Isa isa : available()) {
    CpuBackend alone(one, isa), together(three, isa);
    for (const Operation& operation : operations()) {
      expect_same_bits(run(operation, alone, kTokens), run(operation, together, kTokens),
                       operation.name);
    }
  }
}

TEST(CpuDeterminism, Avx2AndAvx512GiveTheSameBits) {
  if (!is_available(Isa::kAvx512)) GTEST_SKIP() << "this processor lacks AVX-512";
  ThreadPool threads(1);
  CpuBackend narrow(threads, Isa::kAvx2), wide(threads, Isa::kAvx512);
  for (const Operation& operation : operations()) {
    expect_same_bits(run(operation, wide, kTokens), run(operation, narrow, kTokens),
                     operation.name);
  }
}

}  // namespace
}  // namespace precis
