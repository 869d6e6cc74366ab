// Attention over packed rows: the call as the kernels see it, and which kernels take it.
#include <algorithm>
#include <vector>

#include "backend/cuda/attend/call.cuh"
#include "backend/cuda/ops.h"
#include "base/check.h"

namespace precis::cuda {
namespace {

constexpr int kTensorHeads = 64;

// Whether the call is what the kernels on tensor cores are made for.
bool fits_tensor_cores(const AttendArgs& args) {
  const KvRowFormat& f = args.format;
  return args.rounding == Rounding::kBf16 && f.nope == 448 && f.rope == 64 &&
         f.rope_storage == RopeStorage::kBf16 && f.nope_storage == NopeStorage::kE4m3Scales8 &&
         args.q.cols == f.width() && args.out.cols == f.width() && args.n_kv_heads == 1 &&
         args.q.planes % kTensorHeads == 0 &&
         (args.rope.cos_sin.cols == f.rope || args.rope.n_pairs() == 0) && args.mass.empty() &&
         args.scale > 0;
}

// A bound on the compressed rows of a token's list.
std::int64_t most_listed(const RowSelection& selection) {
  if (selection.n_first.empty()) return selection.listed.cols;
  PRECIS_CHECK_LE(std::int64_t{0}, selection.max_first);
  return selection.max_first;
}

// The queries of KV head `g`.
AttendCall call_of(const AttendArgs& args, int g) {
  const AttendArgs a = args.n_kv_heads == 1 ? args : args.of_kv_head(g);
  AttendCall call{};
  call.q = a.q;
  call.format = a.format;
  call.window_rows = rows_of(a.window.pool);
  call.window = a.window.window;
  call.step_begin = {a.window.step_begin, a.window.step_begin_cell};
  call.compressed = rows_of(a.compressed);
  call.n_first = a.selection.n_first.empty() ? nullptr : a.selection.n_first.data();
  call.listed = a.selection.listed;
  call.sink = a.sink.empty() ? nullptr : a.sink.data();
  call.scale = a.scale;
  call.angles = a.rope.cos_sin;
  call.out = a.out;
  call.mass = a.mass.empty() ? Mat<float>() : a.mass;
  call.rounding = a.rounding;
  call.key_begin = a.key_channels().begin;
  call.value_begin = a.value_channels().begin;
  call.n_heads = static_cast<int>(args.heads_per_kv_head());
  call.first_head = g * call.n_heads;
  return call;
}

}  // namespace

void attend(Device& device, std::span<const AttendArgs> all) {
  std::vector<AttendCall> on_tensor_cores;
  std::int64_t most_rows = 0;
  for (const AttendArgs& args : all) {
    if (args.q.n == 0) continue;
    const std::int64_t n_listed = most_listed(args.selection);
    if (fits_tensor_cores(args) && args.q.planes == all.front().q.planes) {
      on_tensor_cores.push_back(call_of(args, 0));
      most_rows = std::max(most_rows, args.window.window + n_listed);
      continue;
    }
    for (int g = 0; g < args.n_kv_heads; ++g) attend_general(device, call_of(args, g), n_listed);
  }
  attend_heads(device, on_tensor_cores, most_rows);
}

}  // namespace precis::cuda
