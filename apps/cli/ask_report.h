// What `precis ask` shows: answers with their sources, and what reading has cost.
#pragma once

#include <filesystem>
#include <vector>

#include "precis/engine.h"
#include "precis/host.h"

#include "cli/ask_reader.h"
#include "cli/json.h"
#include "cli/questions.h"

namespace precis::cli {

struct AskedQuestion {
  Question question;
  Answer answer;

  bool checked() const { return !question.expected.empty(); }
  bool holds() const { return answer_holds(answer.text, question.expected); }
};

/// What one document cost to read and hold.
struct ReadingCost {
  std::int64_t n_tokens = 0;
  double seconds = 0;
  SessionStats session;
  MemoryPlan plan;          // for the longest prompt that was asked
  KvComparison comparison;  // for the document
  ProcessMemory memory;
};

void print_document(const std::filesystem::path& path, const TokenizedDocument& document);
void print_reading(std::int64_t n_tokens, double seconds);

/// After the answer's text has been streamed: whether it holds, and where it was read.
void print_sources(const AskedQuestion& asked, const TokenizedDocument& document);
void print_summary(const ReadingCost& cost, const std::vector<AskedQuestion>& asked);
void print_tour(const std::filesystem::path& document);

Json ask_json(const std::filesystem::path& path, const TokenizedDocument& document,
              const ModelInfo& model, const ReadingCost& cost,
              const std::vector<AskedQuestion>& asked);

}  // namespace precis::cli
