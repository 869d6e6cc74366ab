// bench_gpu: the operations that decide a step at V4-Flash shapes, on the CUDA backend, one JSON object
// a line.  Data are random and lie on the device; a time is that of one of many calls in a row, so it
// holds the launches.  Weights and rows of context are cold, as in a step: calls take other ones in turn.  An
// argument (select, attend, linear, experts) measures that alone.  The floor is bytes over the bandwidth that a
// device copy reaches here.
#include <algorithm>
#include <cstdio>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "backend/cuda/backend.h"
#include "base/clock.h"
#include "base/rng.h"
#include "bench/device_copy.h"
#include "commit.h"
#include "ops/cost.h"

namespace precis::bench {
namespace {

// Of so many copies in turn none is left in L2, where a call reads and writes n_bytes of its own.
std::int64_t n_copies_for(std::int64_t n_bytes) {
  constexpr std::int64_t kColdBytes = 128 << 20;
  return (kColdBytes + n_bytes - 1) / n_bytes;
}

// Device memory of one case, filled with random bits.
class DeviceData {
 public:
  explicit DeviceData(Backend& backend) : backend_(backend) {}

  std::byte* bytes(std::int64_t n, std::uint64_t keep, std::uint64_t set) {
    std::vector<std::uint64_t> words(static_cast<std::size_t>((n + 7) / 8));
    for (std::size_t i = 0; i < words.size(); ++i) words[i] = (random_bits(seed_, i) & keep) | set;
    ++seed_;
    return upload(words.data(), n);
  }
  template <typename T>
  std::span<const T> values(const std::vector<T>& host) {
    const std::int64_t n = std::ssize(host) * static_cast<std::int64_t>(sizeof(T));
    return {reinterpret_cast<const T*>(upload(host.data(), n)), host.size()};
  }
  float* floats(std::int64_t n) {  // bf16 numbers of magnitude 0.5 … 1
    return reinterpret_cast<float*>(
        bytes(4 * n, 0x807F'0000'807F'0000ULL, 0x3F00'0000'3F00'0000ULL));
  }
  Mat<float> mat(std::int64_t rows, std::int64_t cols) { return {floats(rows * cols), rows, cols}; }

  // Codes without the top exponent bit are finite; scales are 2^-1 (0x7e in every byte).
  RowPool rows(std::int64_t n, int per_page, int data_bytes, int scale_bytes) {
    const std::int64_t page_bytes = std::int64_t{per_page} * (data_bytes + scale_bytes);
    const std::int64_t n_pages = (n + per_page - 1) / per_page;
    std::byte* start = bytes(n_pages * page_bytes, 0xBFBF'BFBF'BFBF'BFBFULL, 0);
    const std::vector<std::byte> scales(static_cast<std::size_t>(per_page * scale_bytes),
                                        std::byte{0x7e});
    std::vector<std::byte*> pages;
    for (std::int64_t i = 0; i < n_pages; ++i) {
      pages.push_back(start + i * page_bytes);
      backend_.copy_in(pages.back() + std::int64_t{per_page} * data_bytes, scales);
    }
    auto* table = reinterpret_cast<std::byte* const*>(
        upload(pages.data(), std::ssize(pages) * static_cast<std::int64_t>(sizeof(std::byte*))));
    return {table, per_page, data_bytes, scale_bytes};
  }
  const Weight* weight(WeightFormat format, std::int64_t n_out, std::int64_t n_in) {
    WeightSource source{.format = format, .n_out = n_out, .n_in = n_in};
    source.block_out = format == WeightFormat::kFp8Block ? 128 : 1;
    source.block_in = format == WeightFormat::kFp8Block ? 128 : 32;
    if (codes_.size() < source.code_bytes()) {
      for (std::size_t i = codes_.size(); i < source.code_bytes(); ++i) {
        codes_.push_back(static_cast<std::byte>(random_bits(7, i) & 0xBF));
      }
    }
    const std::vector<std::uint8_t> scales(
        static_cast<std::size_t>((n_out / source.block_out + 1) * (n_in / source.block_in)), 120);
    source.codes = codes_.data();
    source.scales = scales.data();
    weights_.push_back(backend_.load_weight(source));
    return weights_.back().get();
  }

 private:
  std::byte* upload(const void* host, std::int64_t n_bytes) {
    buffers_.push_back(backend_.allocate(static_cast<std::size_t>(n_bytes)));
    backend_.copy_in(buffers_.back().data(),
                     {static_cast<const std::byte*>(host), static_cast<std::size_t>(n_bytes)});
    return buffers_.back().data();
  }

  Backend& backend_;
  std::uint64_t seed_ = 1;
  std::vector<Buffer> buffers_;
  std::vector<std::unique_ptr<Weight>> weights_;
  std::vector<std::byte> codes_;
};

class Bench {
 public:
  Bench(Backend& backend, std::string device) : backend_(backend), device_(std::move(device)) {
    flag_ = backend_.allocate(1);
    bytes_per_s_ = copy_bytes_per_s(backend_);
  }

  // `flop` and `peak` 0 where bytes alone bound the operation.
  void report(const std::string& op, const std::string& shape, double bytes, double flop,
              const std::function<void()>& run) {
    double best = 1e30;
    int n = 2;
    for (int round = 0; round < 6; ++round) {
      const Clock::time_point start = Clock::now();
      for (int i = 0; i < n; ++i) run();
      wait();
      const double each = seconds_since(start) / n;
      if (round > 0) best = std::min(best, each);
      n = std::clamp(static_cast<int>(0.03 / each), 2, 500);
    }
    const double floor_us = 1e6 * bytes / bytes_per_s_;
    nlohmann::ordered_json line{{"op", op},
                                {"shape", shape},
                                {"us", 1e6 * best},
                                {"bytes", bytes},
                                {"floor_us", floor_us},
                                {"of_floor", floor_us / (1e6 * best)},
                                {"tflop_per_s", flop / best / 1e12},
                                {"device", device_},
                                {"copy_tb_per_s", bytes_per_s_ / 1e12},
                                {"commit", kMeasuredCommit}};
    fmt::print("{}\n", line.dump());
    std::fflush(stdout);
  }

 private:
  void wait() {
    std::byte value;
    backend_.copy_out({&value, 1}, flag_.data());
  }

  Backend& backend_;
  std::string device_;
  Buffer flag_;
  double bytes_per_s_ = 0;
};

void bench_linear(Backend& backend, Bench& bench) {
  struct Shape {
    std::int64_t n_out;
    std::int64_t n_in;
    WeightFormat format;
    std::vector<std::int64_t> tokens;
  };
  const std::vector<std::int64_t> tokens{1, 8, 32, 64, 512, 8192};
  const Shape shapes[] = {{1024, 4096, WeightFormat::kFp8Block, tokens},
                          {32768, 1024, WeightFormat::kFp8Block, tokens},
                          {4096, 8192, WeightFormat::kFp8Block, tokens},
                          {1024, 4096, WeightFormat::kBf16, {1, 8192}},
                          {129'280, 4096, WeightFormat::kBf16, {1, 32}}};
  for (const Shape& shape : shapes) {
    for (const std::int64_t t : shape.tokens) {
      DeviceData data(backend);
      const bool is_fp8 = shape.format == WeightFormat::kFp8Block;
      const std::int64_t n_weights =
          n_copies_for(shape.n_out * shape.n_in * (is_fp8 ? 1 : 2) + 4 * t * shape.n_out);
      std::vector<LinearTarget> targets;
      for (std::int64_t i = 0; i < n_weights; ++i) {
        targets.push_back(
            {data.weight(shape.format, shape.n_out, shape.n_in), data.mat(t, shape.n_out)});
      }
      LinearArgs args;
      args.x = data.mat(t, shape.n_in);
      args.input = is_fp8 ? InputQuant::kFp8Group128 : InputQuant::kNone;
      args.rounding = Rounding::kBf16;
      std::size_t next = 0;
      const auto run = [&] {
        args.targets = std::span(targets).subspan(next++ % targets.size(), 1);
        backend.linear(args);
      };
      args.targets = std::span(targets).first(1);
      const Cost one = cost(args);
      bench.report(is_fp8 ? "linear_fp8" : "linear_bf16",
                   fmt::format("T={} out={} in={}", t, shape.n_out, shape.n_in), one.bytes,
                   one.flop.total(), run);
    }
  }
}

void bench_experts(Backend& backend, Bench& bench) {
  constexpr int kExperts = 256;
  constexpr int kActive = 6;
  DeviceData data(backend);
  const auto expert = [&](WeightFormat format) {
    return ExpertWeights{data.weight(format, 2048, 4096), data.weight(format, 2048, 4096),
                         data.weight(format, 4096, 2048)};
  };
  std::vector<ExpertWeights> experts;
  for (int e = 0; e < kExperts; ++e) experts.push_back(expert(WeightFormat::kFp4Group));
  const ExpertWeights shared = expert(WeightFormat::kFp8Block);
  for (const std::int64_t t : {1, 8, 32, 512, 8192}) {
    std::vector<std::int32_t> idx;
    for (std::int64_t i = 0; i < t; ++i) {
      for (int a = 0; a < kActive; ++a) {
        idx.push_back(static_cast<std::int32_t>(a * 42 + random_bits(5, i * kActive + a) % 42));
      }
    }
    ExpertsArgs args;
    args.x = data.mat(t, 4096);
    args.expert_idx = {data.values(idx).data(), t, kActive};
    args.weight = data.mat(t, kActive);
    args.experts = experts;
    args.shared = shared;
    args.swiglu_limit = 10;
    args.expert_input = args.shared_input = InputQuant::kFp8Group128;
    args.out = data.mat(t, 4096);
    args.rounding = Rounding::kBf16;
    const Cost all = cost(args);
    bench.report("experts_fp4", fmt::format("T={} E=256 A=6 D=4096 F=2048", t), all.bytes,
                 all.flop.total(), [&] { backend.experts(args); });
  }
}

// One select of t tokens among n_keys for each of `n_sequences`, which share nothing.  Queries are warm, as they come
// from the operation before.
void bench_select(Backend& backend, Bench& bench, int n_sequences, std::int64_t t,
                  std::int64_t n_keys) {
  constexpr int kHeads = 64;
  constexpr std::int64_t kSelected = 512;
  const IndexRowFormat format{128};
  DeviceData data(backend);
  std::vector<SelectArgs> calls;
  for (int i = 0; i < n_sequences; ++i) {
    SelectArgs args;
    args.queries = data.rows(t * kHeads, static_cast<int>(t) * kHeads, format.data_bytes(),
                             format.scale_bytes());
    args.weights = data.mat(t, kHeads);
    args.weight_scale = 0.011f;
    args.format = format;
    args.n_visible = data.values(
        std::vector<std::int32_t>(static_cast<std::size_t>(t), static_cast<std::int32_t>(n_keys)));
    const Mat<float> out = data.mat(t, kSelected);
    args.out = {reinterpret_cast<std::int32_t*>(out.data), t, kSelected};
    args.rounding = Rounding::kBf16;
    calls.push_back(args);
  }
  const std::int64_t n_bytes = n_sequences * n_keys * format.row_bytes();
  std::vector<std::vector<SelectArgs>> copies(static_cast<std::size_t>(n_copies_for(n_bytes)),
                                              calls);
  for (std::vector<SelectArgs>& copy : copies) {
    for (SelectArgs& args : copy) {
      args.keys = data.rows(n_keys, 64, format.data_bytes(), format.scale_bytes());
    }
  }
  const double n = static_cast<double>(n_sequences) * static_cast<double>(n_keys);
  std::size_t next = 0;
  bench.report(
      "select",
      fmt::format("sequences={} T={} keys={} heads=64 K={}", n_sequences, t, n_keys, kSelected),
      static_cast<double>(n_bytes), n * 2.0 * static_cast<double>(t) * kHeads * 128,
      [&] { backend.select_all(copies[next++ % copies.size()]); });
}

// One attention of t tokens for each of `n_sequences`, which share nothing.
void bench_attend(Backend& backend, Bench& bench, bool heavy, int n_sequences, std::int64_t t) {
  constexpr int kHeads = 64;
  const KvRowFormat format{448, 64};
  DeviceData data(backend);
  const std::int64_t n_pool_rows = heavy ? 8192 : 65'536;
  const std::int64_t n_read = std::min(heavy ? n_pool_rows : t * 512, n_pool_rows) + 128;
  const std::int64_t n_vectors = 2 * t * kHeads;  // read and written
  std::vector<std::vector<AttendArgs>> copies(static_cast<std::size_t>(
      n_copies_for(n_sequences * (n_read * format.row_bytes() + n_vectors * 512 * 4))));
  std::vector<RowPool> pools(static_cast<std::size_t>(
      std::max<std::int64_t>(n_sequences, n_copies_for(n_pool_rows * format.row_bytes()))));
  for (RowPool& pool : pools) {
    pool = data.rows(n_pool_rows, 64, format.data_bytes(), format.scale_bytes());
  }
  for (std::int64_t i = 0; i < std::ssize(copies) * n_sequences; ++i) {
    AttendArgs args;
    args.q = {data.floats(t * kHeads * 512), t, kHeads, 512};
    args.format = format;
    args.window = {data.rows(128 + t, 128, format.data_bytes(), format.scale_bytes()), 128,
                   1'000'000};
    args.compressed = pools[static_cast<std::size_t>(i) % pools.size()];
    if (heavy) {
      args.selection.n_first =
          data.values(std::vector<std::int32_t>(static_cast<std::size_t>(t), 8192));
      args.selection.max_first = 8192;
    } else {
      std::vector<std::int32_t> listed;
      for (std::int64_t k = 0; k < t * 512; ++k) {
        listed.push_back(static_cast<std::int32_t>(random_bits(9, i * t * 512 + k) % n_pool_rows));
      }
      args.selection.listed = {data.values(listed).data(), t, 512};
    }
    args.scale = 0.044f;
    args.rope.cos_sin = data.mat(t, 64);
    args.out = {data.floats(t * kHeads * 512), t, kHeads, 512};
    args.rounding = Rounding::kBf16;
    copies[static_cast<std::size_t>(i / n_sequences)].push_back(args);
  }
  const auto n = static_cast<double>(n_sequences) * static_cast<double>(t);
  const double visible = heavy ? 8320 : 640;
  const double distinct = heavy ? 8320.0 * n_sequences : 640 * n;
  std::size_t next = 0;
  bench.report(heavy ? "attend_hca" : "attend_csa",
               fmt::format("sequences={} T={} rows={} heads=64", n_sequences, t, visible),
               distinct * format.row_bytes() + 8.0 * n * kHeads * 512,
               4.0 * n * kHeads * 512 * visible,
               [&] { backend.attend_all(copies[next++ % copies.size()]); });
}

int run(std::string_view only) {
  const auto devices = list_cuda_devices();
  auto backend = make_cuda_backend();
  if (!devices || !backend) {
    fmt::print(stderr, "bench_gpu: {}\n", (devices ? backend.error() : devices.error()).message);
    return 1;
  }
  Bench bench(**backend, devices->front().name);
  const auto select_all = [](Backend& each, Bench& with) {
    constexpr std::int64_t kMillion = 262'144;  // keys of as many tokens
    for (const std::int64_t n_keys : {2'048, 32'768}) bench_select(each, with, 1, 1, n_keys);
    for (const std::int64_t t : {1, 4, 32, 512, 8192}) bench_select(each, with, 1, t, kMillion);
    bench_select(each, with, 32, 1, kMillion);
  };
  const auto attend_all = [](Backend& each, Bench& with) {
    for (const bool heavy : {false, true}) {
      for (const int n : {1, 32}) bench_attend(each, with, heavy, n, 1);
      for (const std::int64_t t : {32, 512, 8192}) bench_attend(each, with, heavy, 1, t);
    }
  };
  const std::pair<std::string_view, void (*)(Backend&, Bench&)> all[] = {
      {"select", select_all},
      {"attend", attend_all},
      {"linear", bench_linear},
      {"experts", bench_experts}};
  for (const auto& [name, measure] : all) {
    if (only.empty() || only == name) measure(**backend, bench);
  }
  return 0;
}

}  // namespace
}  // namespace precis::bench

int main(int argc, char** argv) {
  return precis::bench::run(argc > 1 ? argv[1] : "");
}
