// Dense products at the sizes of a prefill, where tiles of 128 and 256 tokens and clusters run: equal
// bits in every chunk, and exact sums of integers.
#include <algorithm>

#include <gtest/gtest.h>

#include "backend/registry.h"
#include "ops/op_test_util.h"
#include "tensor/bf16.h"

namespace precis {
namespace {

struct DenseCase {
  WeightFormat format;
  std::int64_t n_out;
  std::int64_t n_in;
  int n_groups;
  InputQuant input;
  Rounding rounding = Rounding::kNone;

  std::string text() const {
    return "format " + std::to_string(static_cast<int>(format)) + ", " + std::to_string(n_out) +
           " x " + std::to_string(n_in) + ", groups " + std::to_string(n_groups) + ", input " +
           std::to_string(static_cast<int>(input));
  }
};

// Rows around a cluster's 256 and blocks around a stage's four along k.
const DenseCase kCases[] = {
    {WeightFormat::kFp8Block, 1000, 1152, 1, InputQuant::kFp8Group128, Rounding::kBf16},
    {WeightFormat::kFp8Block, 384, 4096, 1, InputQuant::kFp8Group128, Rounding::kBf16},
    {WeightFormat::kFp8Block, 384, 512, 1, InputQuant::kFp8Group128},
    {WeightFormat::kFp8Block, 512, 640, 2, InputQuant::kNone},
    {WeightFormat::kFp8Block, 448, 384, 1, InputQuant::kNone},
    {WeightFormat::kFp8Block, 331, 384, 1, InputQuant::kFp8Group128, Rounding::kBf16},
    {WeightFormat::kBf16, 520, 1100, 1, InputQuant::kNone},  // rows that no TMA unit copies
    {WeightFormat::kBf16, 520, 1104, 1, InputQuant::kNone},
    {WeightFormat::kBf16, 512, 512, 2, InputQuant::kNone},
    {WeightFormat::kBf16, 256, 512, 2, InputQuant::kNone},  // groups smaller than a cluster's rows
};

class DenseOnGpu : public GpuTest {
 protected:
  static std::vector<float> run(const DenseCase& c, const TestWeight& weight,
                                const std::vector<float>& x, std::int64_t chunk) {
    const TestBackend backend({"cuda", ""});
    const std::unique_ptr<Weight> loaded = backend->load_weight(weight.source());
    const std::int64_t width = c.n_in * c.n_groups;
    const std::int64_t n_tokens = std::ssize(x) / width;
    std::vector<float> out(n_tokens * c.n_out);
    for_each_chunk(n_tokens, chunk, [&](std::int64_t begin, std::int64_t n) {
      const LinearTarget target{loaded.get(), mat(out, n_tokens, c.n_out).slice_rows(begin, n)};
      backend->linear({mat(x, n_tokens, width).slice_rows(begin, n),
                       {&target, 1},
                       c.n_groups,
                       c.input,
                       c.rounding});
    });
    return out;
  }
};

TEST_F(DenseOnGpu, EveryChunkGivesTheSameBits) {
  for (const DenseCase& c : kCases) {
    for (const bool is_f32 : {false, true}) {
      const std::int64_t n_tokens = 390;
      const std::int64_t n = n_tokens * c.n_in * c.n_groups;
      const TestWeight weight = make_weight(c.format, c.n_out, c.n_in, Fill::kRandom, 1);
      const std::vector<float> x = is_f32 ? uniform(n, 2, -1, 1) : activations(n, 2);
      const std::vector<float> whole = run(c, weight, x, n_tokens);
      for (const std::int64_t chunk : {5, 30, 64, 130, 250}) {
        expect_same_bits(run(c, weight, x, chunk), whole,
                         c.text() + ", chunk " + std::to_string(chunk));
      }
    }
  }
}

// A few tokens are quantised where they are multiplied, by blocks of 8 to 64 rows of a weight; many are the
// other operand of the tensor cores, in tiles of 128 or 256 and more of them than blocks.
TEST_F(DenseOnGpu, FewTokensHaveTheBitsOfMany) {
  struct Shape {
    std::int64_t n_out;
    std::int64_t n_in;
    std::int64_t n_tokens;
  };
  const Shape shapes[] = {{1000, 1152, 70}, {200, 8192, 65},     {2000, 272, 300},
                          {4096, 256, 140}, {20'000, 256, 1030}, {20'000, 512, 390}};
  for (const Shape& shape : shapes) {
    const DenseCase c{WeightFormat::kFp8Block,  shape.n_out,    shape.n_in, 1,
                      InputQuant::kFp8Group128, Rounding::kBf16};
    const TestWeight weight = make_weight(c.format, c.n_out, c.n_in, Fill::kRandom, 5);
    const std::vector<float> x = activations(shape.n_tokens * c.n_in, 6);
    const std::vector<float> whole = run(c, weight, x, shape.n_tokens);
    for (const std::int64_t n : {1, 2, 7, 64}) {
      constexpr std::int64_t kCompared = 64;
      const std::vector<float> few(x.begin(), x.begin() + kCompared * c.n_in);
      const std::vector<float> want(whole.begin(), whole.begin() + kCompared * c.n_out);
      expect_same_bits(run(c, weight, few, n), want,
                       c.text() + ", tokens " + std::to_string(n) + " against " +
                           std::to_string(shape.n_tokens));
    }
  }
}

TEST_F(DenseOnGpu, SumsOfIntegersAreExact) {
  for (const DenseCase& c : kCases) {
    for (const std::int64_t n_tokens : {65, 129, 385}) {
      const std::int64_t width = c.n_in * c.n_groups;
      const TestWeight weight = make_weight(c.format, c.n_out, c.n_in, Fill::kIntegers, 3);
      const std::vector<float> x = small_ints(n_tokens * width, 4);
      const std::vector<float> rows = weight.decoded();
      const std::vector<float> got = run(c, weight, x, n_tokens);
      std::vector<float> want(got.size());
      for (std::int64_t i = 0; i < std::ssize(want); ++i) {
        const std::int64_t n = i % c.n_out;
        const float* a = x.data() + i / c.n_out * width + n / (c.n_out / c.n_groups) * c.n_in;
        const float* b = rows.data() + n * c.n_in;
        float sum = 0;
        for (std::int64_t k = 0; k < c.n_in; ++k) sum += a[k] * b[k];
        want[i] = c.rounding == Rounding::kBf16 ? round_to_bf16(sum) : sum;
      }
      expect_same_bits(got, want, c.text() + ", tokens " + std::to_string(n_tokens));
    }
  }
}

}  // namespace
}  // namespace precis
