// The lightning indexer: exact scores of packed keys and the K best rows, in one pass over the keys.
//
// Scores, heads and the order of additions are those of every backend, so the selection is the CPU's bit
// for bit.  Scores never reach device memory: a block keeps the best rows of its tokens, and blocks that
// share a token meet at the end.  Byte and cycle counts: docs/kernels/cuda_select.md.
#include <vector>

#include "backend/cuda/ops.h"
#include "backend/cuda/select/call.cuh"
#include "base/check.h"

namespace precis::cuda {

namespace {

SelectCall call_of(const SelectArgs& args) {
  PRECIS_CHECK(args.format.storage == IndexStorage::kE2m1);
  SelectCall call{};
  call.queries = rows_of(args.queries);
  call.weights = args.weights;
  call.weight_scale = args.weight_scale;
  call.keys = rows_of(args.keys);
  call.n_visible = args.n_visible.data();
  call.out = args.out;
  call.rounding = args.rounding;
  return call;
}

}  // namespace

void prepare_meeting(Device& device, std::span<SelectCall> calls, int n_splits, int n_groups) {
  // The words of `arrived` keep a bit between launches, so nothing else may ever lie in their place.
  constexpr int kMaxGroups = 4096;
  PRECIS_CHECK_LE(n_groups, kMaxGroups);
  std::int64_t n_tokens = 0;
  for (const SelectCall& call : calls) n_tokens += call.weights.rows;
  const int n_found_max = calls.front().meeting.n_found_max;
  const std::int64_t n_counts = n_tokens * kHistograms * kSteps;
  int* counters = device.select_counters.first(kMaxGroups + n_counts + n_tokens, device.pool);
  Meeting meeting{n_splits,
                  n_found_max,
                  reinterpret_cast<unsigned int*>(counters),
                  counters + kMaxGroups,
                  counters + kMaxGroups + n_counts,
                  device.workspace.take<Entry>(n_tokens * n_found_max)};
  for (SelectCall& call : calls) {
    call.meeting = meeting;
    meeting.histograms += call.weights.rows * kHistograms * kSteps;
    meeting.n_found += call.weights.rows;
    meeting.found += call.weights.rows * n_found_max;
  }
}

void select(Device& device, std::span<const SelectArgs> all) {
  std::vector<SelectCall> of_one_token;  // and of the same K
  for (const SelectArgs& args : all) {
    if (args.weights.rows == 0 || args.out.cols == 0) continue;
    const SelectCall call = call_of(args);
    if (!is_wide_select(device, args)) {
      launch_general_select(device, call, args.format.n_groups());
    } else if (is_decode_select(args) && args.out.cols == all.front().out.cols) {
      of_one_token.push_back(call);
    } else {
      launch_wide_select(device, call);
    }
  }
  launch_decode_selects(device, of_one_token);
}

}  // namespace precis::cuda
