// Weights that the device draws are those that the host draws, whichever memory they lie in.
#include <cmath>
#include <memory>

#include <gtest/gtest.h>

#include "backend/registry.h"
#include "base/threads.h"
#include "ops/op_test_util.h"
#include "ops/uploading_backend.h"
#include "tensor/bf16.h"
#include "tensor/float4.h"
#include "tensor/float8.h"

namespace precis {
namespace {

struct Drawn {
  WeightFormat format;
  int block_out;
  int block_in;
  RandomTable codes;
  RandomTable scales;
};

Drawn drawn(WeightFormat format) {
  Drawn d{format, 1, 1, {.key = 11, .element_bytes = 1, .values = {}}, {.key = 12, .values = {}}};
  const bool fp8 = format == WeightFormat::kFp8Block;
  if (fp8) d.block_out = d.block_in = 128;
  if (format == WeightFormat::kFp4Group) d.block_in = 32;
  for (std::uint32_t i = 0; i < 256; ++i) {
    const float value = static_cast<float>(i) / 128 - 1;
    d.scales.values[i] = 120 + i % 3;
    switch (format) {
      case WeightFormat::kF32: d.codes.values[i] = std::bit_cast<std::uint32_t>(value); break;
      case WeightFormat::kBf16: d.codes.values[i] = bf16(value).bits; break;
      case WeightFormat::kFp8Block: d.codes.values[i] = encode_e4m3(value); break;
      case WeightFormat::kFp4Group: d.codes.values[i] = i; break;
    }
  }
  d.codes.element_bytes = format == WeightFormat::kF32 ? 4 : format == WeightFormat::kBf16 ? 2 : 1;
  return d;
}

std::vector<float> product(Backend& backend, const WeightSource& source,
                           const std::vector<float>& x) {
  const std::unique_ptr<Weight> weight = backend.load_weight(source);
  std::vector<float> out(static_cast<std::size_t>(source.n_out));
  const std::array<LinearTarget, 1> target{
      {{weight.get(), Mat<float>(out.data(), 1, source.n_out)}}};
  backend.linear(
      {Mat<const float>(x.data(), 1, source.n_in), target, 1, InputQuant::kNone, Rounding::kNone});
  return out;
}

class DrawOnGpu : public GpuTest {};

TEST_F(DrawOnGpu, WeightsEqualThoseOfTheHostInEitherMemory) {
  ThreadPool threads(1);
  const auto backend = make_uploading_backend(std::move(make_backend("cuda", threads)).value());
  for (const WeightFormat format : {WeightFormat::kF32, WeightFormat::kBf16,
                                    WeightFormat::kFp8Block, WeightFormat::kFp4Group}) {
    const Drawn d = drawn(format);
    WeightSource source;
    source.format = format;
    source.n_out = 384;
    source.n_in = 512;
    source.block_out = d.block_out;
    source.block_in = d.block_in;
    std::vector<std::byte> codes(source.code_bytes());
    fill_random(d.codes, 0, codes);
    std::vector<std::byte> scales(
        static_cast<std::size_t>((source.n_out / d.block_out) * (source.n_in / d.block_in)));
    fill_random(d.scales, 0, scales);
    const std::vector<float> x = uniform(source.n_in, 5, -1, 1);

    source.codes = codes.data();
    source.scales = source.quantised() ? reinterpret_cast<std::uint8_t*>(scales.data()) : nullptr;
    const std::vector<float> want = product(*backend, source, x);
    EXPECT_GT(std::abs(want[0]), 0);
    for (const WeightPlace place : {WeightPlace::kBackend, WeightPlace::kHost}) {
      WeightSource made = source;
      made.place = place;
      EXPECT_EQ(product(*backend, made, x), want) << "stored, format " << static_cast<int>(format);
      made.codes = nullptr;
      made.scales = nullptr;
      made.drawn_codes = &d.codes;
      made.drawn_scales = source.quantised() ? &d.scales : nullptr;
      EXPECT_EQ(product(*backend, made, x), want) << "drawn, format " << static_cast<int>(format);
    }
  }
}

}  // namespace
}  // namespace precis
