// Shapes that no bundled or golden checkpoint has: every backend must still compute what `ref`
// does, layer by layer on the same input.
#include <array>
#include <cmath>
#include <filesystem>
#include <string>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "checkpoint/safetensors.h"
#include "model/one_sequence_test_util.h"
#include "model/small_config_test_util.h"
#include "model/synthetic.h"

namespace precis {
namespace {

struct Shape {
  const char* name;
  SmallConfig config;
  SyntheticDtypes dtypes;
};

constexpr std::array<Shape, 6> kShapes{{
    {"narrow rows, small window",
     {128, 3, 96, 32, 64, 3, 32, 17, 5, 2, 32, 5, 3, 96, 1, 4, "[4,0,32,4,0]"},
     SyntheticDtypes::kRelease},
    {"wide rows, many heads",
     {192, 8, 320, 64, 96, 4, 48, 64, 40, 8, 64, 8, 1, 64, 0, 4, "[128,4,0]"},
     SyntheticDtypes::kRelease},
    {"released row, ragged model",
     {160, 4, 512, 64, 160, 2, 96, 128, 9, 4, 128, 3, 3, 160, 2, 4, "[0,4,128]"},
     SyntheticDtypes::kRelease},
    {"two streams, bf16",
     {64, 2, 128, 64, 32, 1, 32, 8, 3, 1, 64, 4, 2, 32, 1, 2, "[4,128,4]"},
     SyntheticDtypes::kBf16},
    {"heavy only",
     {128, 2, 80, 16, 128, 2, 64, 100, 7, 4, 128, 4, 2, 128, 0, 4, "[16,64,2]"},
     SyntheticDtypes::kRelease},
    {"window only",
     {128, 2, 128, 64, 128, 2, 64, 33, 7, 4, 128, 4, 2, 128, 0, 4, "[0,0,0]"},
     SyntheticDtypes::kRelease},
}};

std::unique_ptr<OneSequence> load(const std::filesystem::path& dir, const char* backend_name) {
  constexpr int kMaxStep = 64;
  const ModelConfig config = load_config(dir).value();
  const Checkpoint checkpoint = std::move(Checkpoint::open(dir)).value();
  return std::make_unique<OneSequence>(config, checkpoint, backend_name, Rounding::kNone, kMaxStep,
                                       4096);
}

double relative_error(std::span<const float> got, std::span<const float> want) {
  double difference = 0;
  double norm = 0;
  for (std::size_t i = 0; i < got.size(); ++i) {
    difference += std::pow(double{got[i]} - want[i], 2);
    norm += std::pow(double{want[i]}, 2);
  }
  return std::sqrt(difference / norm);
}

TEST(Shapes, EveryLayerEqualsRefOnTheSameInput) {
  for (const Shape& shape : kShapes) {
    SCOPED_TRACE(shape.name);
    const auto dir = std::filesystem::temp_directory_path() /
                     fmt::format("precis_shapes_{}_{}", ::getpid(), &shape - kShapes.data());
    const auto written =
        write_synthetic(dir, {small_config_json(shape.config), shape.dtypes, 5, {}});
    ASSERT_TRUE(written.ok()) << written.error().message;
    const auto ref = load(dir, "ref");
    const auto cpu = load(dir, "cpu");
    std::filesystem::remove_all(dir);

    const std::int64_t width = std::int64_t{shape.config.streams} * shape.config.hidden;
    std::vector<std::vector<double>> errors(
        static_cast<std::size_t>(ref->model.config().n_layers()));
    std::int64_t at = 0;
    for (const std::int64_t n : {1, 2, 17, 64, 64, 3, 64, 1, 1, 40}) {
      std::vector<std::int32_t> ids;
      for (std::int64_t i = 0; i < n; ++i)
        ids.push_back(static_cast<std::int32_t>((at + i) * 7 % 64));
      for (OneSequence* side : {ref.get(), cpu.get()}) {
        side->cache.reserve(n);
        const std::array<SequenceStep, 1> step{{{&side->cache, ids}}};
        side->model.begin_step(step);
        side->model.embed();
      }
      for (int layer = 0; layer < ref->model.config().n_layers(); ++layer) {
        ref->model.run_layer(layer, {});
        cpu->model.run_layer(layer, {});
        const auto count = static_cast<std::size_t>(n * width);
        for (std::int64_t t = 0; t < n; ++t) {
          errors[static_cast<std::size_t>(layer)].push_back(relative_error(
              {cpu->model.streams().data + t * width, static_cast<std::size_t>(width)},
              {ref->model.streams().data + t * width, static_cast<std::size_t>(width)}));
        }
        std::copy_n(ref->model.streams().data, count, cpu->model.streams().data);
      }
      ref->model.end_step();
      cpu->model.end_step();
      at += n;
    }
    for (auto& layer : errors) {
      std::nth_element(layer.begin(), layer.begin() + static_cast<std::ptrdiff_t>(layer.size() / 2),
                       layer.end());
      EXPECT_LE(layer[layer.size() / 2], 1e-5) << "layer " << &layer - errors.data();
    }
  }
}

}  // namespace
}  // namespace precis
