// Weight views of a layer's experts on the device, where a kernel looks an expert up.
#pragma once

#include <span>
#include <unordered_map>
#include <vector>

#include <cuda_runtime_api.h>

#include "backend/cuda/weight.h"
#include "ops/experts.h"

namespace precis::cuda {

class ExpertTables {
 public:
  /// Routed experts in their order, then the shared one.
  struct Table {
    const WeightView* w1;
    const WeightView* w3;
    const WeightView* w2;
    bool suits_mixture;  // all are packed FP4 or FP8 in blocks of 128
  };

  ExpertTables() = default;
  ExpertTables(const ExpertTables&) = delete;
  ExpertTables& operator=(const ExpertTables&) = delete;
  ~ExpertTables();

  /// Made anew when the host's list has changed.
  Table of(std::span<const ExpertWeights> experts, const ExpertWeights& shared,
           cudaStream_t stream);

 private:
  struct Entry {
    std::vector<WeightView> views;  // w1 of all experts, w3, w2
    WeightView* device = nullptr;
    bool suits_mixture = false;
  };
  std::unordered_map<const ExpertWeights*, Entry> entries_;
};

}  // namespace precis::cuda
