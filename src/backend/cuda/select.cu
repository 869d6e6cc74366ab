// The lightning indexer: exact scores of packed keys and the K best rows, in one pass over the keys.
//
// Scores, heads and the order of additions are those of every backend, so the selection is the CPU's bit
// for bit.  Scores never reach device memory: a block keeps the best rows of its tokens, and blocks that
// share a token meet at the end.  Byte and cycle counts: docs/kernels/cuda_select.md.
#include <algorithm>

#include "backend/cuda/ops.h"
#include "backend/cuda/select/call.cuh"
#include "base/check.h"

namespace precis::cuda {

void prepare_meeting(Device& device, SelectCall& call, int n_splits, int n_groups) {
  // The words of `arrived` keep a bit between launches, so nothing else may ever lie in their place.
  constexpr int kMaxGroups = 4096;
  PRECIS_CHECK_LE(n_groups, kMaxGroups);
  const std::int64_t n_tokens = call.weights.rows;
  const std::int64_t n_counts = n_tokens * kHistograms * kSteps;
  int* counters = device.select_counters.first(kMaxGroups + n_counts + n_tokens, device.pool);
  call.meeting.n_blocks = n_splits;
  call.meeting.arrived = reinterpret_cast<unsigned int*>(counters);
  call.meeting.histograms = counters + kMaxGroups;
  call.meeting.n_found = call.meeting.histograms + n_counts;
  call.meeting.found = device.workspace.take<Entry>(n_tokens * call.meeting.n_found_max);
}

void select(Device& device, const SelectArgs& args) {
  if (args.weights.rows == 0 || args.out.cols == 0) return;
  PRECIS_CHECK(args.format.storage == IndexStorage::kE2m1);
  SelectCall call{};
  call.queries = rows_of(args.queries);
  call.weights = args.weights;
  call.weight_scale = args.weight_scale;
  call.keys = rows_of(args.keys);
  call.n_visible = args.n_visible.data();
  call.out = args.out;
  call.rounding = args.rounding;
  if (is_wide_select(device, args)) {
    launch_wide_select(device, call);
  } else {
    launch_general_select(device, call, args.format.n_groups());
  }
}

}  // namespace precis::cuda
