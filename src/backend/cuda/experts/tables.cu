#include <algorithm>

#include "backend/cuda/device.h"
#include "backend/cuda/experts/tables.h"

namespace precis::cuda {
namespace {

constexpr int kBlock = 128;

bool suits_mixture(const WeightView& view) {
  const bool is_fp8 = view.format == WeightFormat::kFp8Block && view.block_out == kBlock &&
                      view.block_in == kBlock && view.scale_cols <= 64;
  return (view.is_packed || is_fp8) && view.n_in % kBlock == 0 && view.n_out % kBlock == 0;
}

}  // namespace

ExpertTables::~ExpertTables() {
  for (auto& [key, entry] : entries_) cudaFree(entry.device);
}

ExpertTables::Table ExpertTables::of(std::span<const ExpertWeights> experts,
                                     const ExpertWeights& shared, cudaStream_t stream) {
  const std::size_t n = experts.size() + 1;
  std::vector<WeightView> views;
  views.reserve(3 * n);
  for (const auto member : {&ExpertWeights::w1, &ExpertWeights::w3, &ExpertWeights::w2}) {
    for (const ExpertWeights& expert : experts) views.push_back(view_of(expert.*member));
    views.push_back(view_of(shared.*member));
  }
  Entry& entry = entries_[experts.data()];
  if (entry.views != views) {
    if (entry.views.size() != views.size()) {
      PRECIS_CUDA_CHECK(cudaStreamSynchronize(stream));
      PRECIS_CUDA_CHECK(cudaFree(entry.device));
      PRECIS_CUDA_CHECK(cudaMalloc(&entry.device, views.size() * sizeof(WeightView)));
    }
    PRECIS_CUDA_CHECK(cudaMemcpyAsync(entry.device, views.data(), views.size() * sizeof(WeightView),
                                      cudaMemcpyHostToDevice, stream));
    entry.suits_mixture = std::ranges::all_of(views, suits_mixture);
    entry.views = std::move(views);
  }
  return {entry.device, entry.device + n, entry.device + 2 * n, entry.suits_mixture};
}

}  // namespace precis::cuda
