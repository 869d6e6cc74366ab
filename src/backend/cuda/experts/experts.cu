// The experts of a layer.  As released (quantised inputs, bf16 between operations) they run on the FP8
// tensor cores (mixture.cu), for every number of tokens; whatever that kernel does not take runs in f32
// (general.cu).  The choice depends on weights and mode, never on tokens, so bits do not either.
#include <algorithm>

#include "backend/cuda/experts/config.cuh"
#include "backend/cuda/experts/mixture.h"
#include "backend/cuda/experts/paths.h"
#include "backend/cuda/experts/rows.h"
#include "backend/cuda/ops.h"

namespace precis::cuda {
namespace {

bool is_as_released(const ExpertsArgs& args) {
  return args.rounding == Rounding::kBf16 && args.expert_input == InputQuant::kFp8Group128 &&
         args.shared_input == InputQuant::kFp8Group128;
}

void run_tokens(Device& device, const ExpertTables::Table& table, const ExpertsArgs& args) {
  const std::int64_t hidden_width = args.shared.w1->n_out();
  const int max_tile_rows = tile_rows_for(args.x.rows);
  const RowPlan plan = plan_rows(device, args, max_tile_rows);
  // All memory first: taking some may allocate, which would keep the next launch from overlapping.
  QuantisedRows hidden;
  hidden.n_blocks = static_cast<int>(hidden_width / kDepth);
  hidden.codes = device.workspace.take<std::uint8_t>(plan.max_rows * hidden_width);
  hidden.scales =
      device.workspace.take<float>(static_cast<std::int64_t>(plan.max_rows) * hidden.n_blocks);
  auto* outputs = device.workspace.take<std::uint16_t>(plan.max_rows * args.x.cols);
  const QuantisedRows x = quantise_rows(device, args, plan);
  const MixtureArgs mixture{table.w1,
                            table.w3,
                            table.w2,
                            plan,
                            x,
                            hidden,
                            outputs,
                            static_cast<int>(args.x.cols),
                            static_cast<int>(hidden_width),
                            args.swiglu_limit,
                            max_tile_rows < kDepth};
  run_mixture(device, mixture, max_tile_rows);
  add_rows(device, args, plan, outputs);
}

}  // namespace

ExpertsArgs slice_tokens(const ExpertsArgs& args, std::int64_t begin, std::int64_t n_max) {
  const std::int64_t n = std::min(n_max, args.x.rows - begin);
  ExpertsArgs part = args;
  part.x = args.x.slice_rows(begin, n);
  part.expert_idx = args.expert_idx.slice_rows(begin, n);
  part.weight = args.weight.slice_rows(begin, n);
  part.out = args.out.slice_rows(begin, n);
  return part;
}

void experts(Device& device, ExpertTables& tables, const ExpertsArgs& args) {
  if (args.x.rows == 0) return;
  const ExpertTables::Table table = tables.of(args.experts, args.shared, device.stream);
  if (!table.suits_mixture || !is_as_released(args)) {
    run_general(device, table, args);
    return;
  }
  constexpr std::int64_t kMaxTokens = 8192;  // bounds the workspace, 100 KB a token in V4-Flash
  for (std::int64_t begin = 0; begin < args.x.rows; begin += kMaxTokens) {
    device.workspace.begin();
    run_tokens(device, table, slice_tokens(args, begin, kMaxTokens));
  }
}

}  // namespace precis::cuda
