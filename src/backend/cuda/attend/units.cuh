// How the rows of a step's tokens are cut into units of work for attention on tensor cores.
//
// A list is the rows of one token for 64 heads.  Its blocks of 64 rows have sums of their own; sixteen
// blocks are added, in order, to the sums of a part, and the parts, in order, to the list's.  A unit is
// one block, one part or a whole list, as the step's size demands: the same additions in every case.
#pragma once

#include "backend/cuda/attend/tiles.cuh"

namespace precis::cuda {

/// One record: a unit's sums, of a thread's accumulators, and the chain that they count from.
struct UnitRecord {
  float4 quads[kWidth / 8][kWarpgroup];
  float4 chain[kWarpgroup];  // references, denominators
};

inline constexpr int kMaxRecords = 512;  // 66 MB

struct AttendStep {
  AttendCall call;
  int n_groups;  // of 64 heads
  int n_lists;
  int unit_blocks;
  int n_units;  // those beyond the end of their list included
  UnitRecord* records;
};

struct List {
  std::int64_t t;
  int head;
  int n_blocks;
};

__device__ inline List list_at(const AttendStep& step, int i) {
  List list{i / step.n_groups, step.call.first_head + i % step.n_groups * kHeads, 0};
  list.n_blocks = (step.call.n_rows(list.t) + kBlockRows - 1) / kBlockRows;
  return list;
}

struct Unit {
  List list;
  int begin;  // blocks of the list
  int end;
  bool exists;

  __device__ bool is_whole_list() const { return begin == 0 && end == list.n_blocks; }
};

/// Units of the same place of all lists follow each other: the short last ones come at the end.
__device__ inline Unit unit_at(const AttendStep& step, int i) {
  const int place = i / step.n_lists;
  Unit unit{list_at(step, i % step.n_lists), 0, 0, true};
  unit.begin = min(unit.list.n_blocks, place * step.unit_blocks);
  unit.end = min(unit.list.n_blocks, unit.begin + step.unit_blocks);
  unit.exists = place == 0 || unit.begin < unit.end;
  return unit;
}

/// Adds the records of lists that attend_heads has cut, and stores their results (merge.cu); `has_parts`:
/// some list may have more than one.
void merge_units(Device& device, const AttendStep& step, bool has_parts);

}  // namespace precis::cuda
