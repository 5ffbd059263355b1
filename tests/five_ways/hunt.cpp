#include "tests/five_ways/hunt.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>

#include "tandem/core/threads.h"
#include "tests/five_ways/draw.h"
#include "tests/five_ways/judge.h"
#include "tests/five_ways/shrink.h"
#include "tests/five_ways/text.h"

namespace tandem::five_ways {
namespace {

using Clock = std::chrono::steady_clock;
double since(Clock::time_point t) {
  return std::chrono::duration<double>(Clock::now() - t).count();
}

Json json_of(const std::vector<Difference>& list) {
  Json j = Json::array();
  for (const Difference& d : list)
    j.push_back({{"way", d.way}, {"kind", d.kind}, {"call", d.call}, {"what", d.what}});
  return j;
}
std::vector<Difference> differences_of(const Json& j) {
  std::vector<Difference> list;
  for (const Json& d : j) list.push_back({d.at("way"), d.at("kind"), d.at("call"), d.at("what")});
  return list;
}
// Names of files and texts of errors need not be UTF-8.
std::string line_of(const Json& j) {
  return j.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}
std::vector<Json> lines_of(const std::string& text) {
  std::vector<Json> all;
  for (size_t at = 0; at < text.size();) {
    const size_t end = text.find('\n', at);
    if (end == text.npos) break;  // a line that a crash has cut
    all.push_back(Json::parse(text.substr(at, end - at)));
    at = end + 1;
  }
  return all;
}

/// Ways that fail together for one reason.
std::string group_of(const std::string& way) {
  if (way.starts_with("compiled")) return "compiled";
  if (way == "session" || way == "saved" || way == "session training") return "static";
  return way;
}

/// The words of an error, without numbers, names and places.
std::string words_of(const std::string& text) {
  std::string s;
  for (const char c : text.substr(0, 200)) {
    const bool letter = std::isalpha(static_cast<unsigned char>(c)) || c == '_';
    if (letter) s += c;
    else if (!s.empty() && s.back() != ' ') s += ' ';
  }
  return s.substr(0, 70);
}

/// What makes two findings one.
std::string signature(const Program& p, const Difference& d) {
  std::string s = cat(d.way, "|", d.kind, "|");
  // The text of an error names the op that gives it.
  if (d.kind == "error") return s + words_of(d.what);
  const std::vector<std::string> calls = calls_of(p);
  if (d.kind == "hang")  // what walks over a length, if it is there
    for (std::string_view walk : {"walk", "unbind", "split", "chunk"})
      if (std::find(calls.begin(), calls.end(), walk) != calls.end()) return cat(s, walk);
  for (const std::string& call : calls) s += cat("|", call);
  return s;
}

constexpr int64_t most_memory = int64_t(1) << 30;
/// Bytes that this process has used at most.
int64_t peak_memory() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return int64_t(usage.ru_maxrss) * 1024;
}

/// One process that draws its share of the programs.
class Hunter {
 public:
  Hunter(const HuntOptions& options, int job, Counts& counts, Clock::time_point begin)
      : options_(options), job_(job), counts_(counts), begin_(begin), board_(*Board::make()) {
    folder_ = cat("/dev/shm/five_ways_", int64_t(getpid()), "_", job);
    if (!std::filesystem::exists("/dev/shm"))
      folder_ = (std::filesystem::temp_directory_path() / folder_.substr(9)).string();
    std::filesystem::create_directories(folder_);
    if (!options.python.empty()) judge_ = std::make_unique<Judge>(options.python, options.judge);
  }
  ~Hunter() { std::filesystem::remove_all(folder_); }

  void run() {
    if (job_ == 0 && !options_.cases.empty()) run_cases();
    constexpr int64_t chunk = 20;
    for (int64_t first = job_ * chunk; !over(first); first += options_.jobs * chunk) {
      const int64_t count =
          options_.seconds > 0 ? chunk : std::min(chunk, options_.programs - first);
      run_batch({count, [&](int64_t i, const Trial& trial) {
                   return draw_program(options_.seed * 1000000 + uint64_t(first + i), trial);
                 }});
    }
  }

 private:
  struct Found {
    Program program;
    Difference difference;
  };
  /// Programs that are made one by one, in a child.
  struct Batch {
    int64_t count;
    std::function<Program(int64_t, const Trial&)> make;
  };

  /// The programs of a folder: what was found once.
  void run_cases() {
    std::vector<std::string> files;
    for (const auto& entry : std::filesystem::directory_iterator(options_.cases))
      if (entry.path().extension() == ".json") files.push_back(entry.path());
    std::sort(files.begin(), files.end());
    run_batch({int64_t(files.size()), [&](int64_t i, const Trial& trial) {
                 const Program p = program_of(Json::parse(std::ifstream(files[size_t(i)])));
                 if (trial) trial(p);
                 return p;
               }});
  }

  bool over(int64_t first) const {
    if (counts_.kinds >= options_.most) return true;
    return options_.seconds > 0 ? since(begin_) > options_.seconds : first >= options_.programs;
  }
  Limits limits() const {
    Limits l;
    l.seconds = options_.patience;
    return l;
  }
  std::string folder_of(int64_t i) const { return cat(folder_, "/", i); }

  void run_batch(const Batch& batch) {
    for (int64_t at = 0; at < batch.count;) {
      const Ending e = in_child(board_, limits(), [&](const Write& write) {
        // What one program has asked for must not be missing for the next.
        for (int64_t i = at; i < batch.count && peak_memory() < most_memory; ++i)
          run_one(batch, i, write);
      });
      for (const Json& line : lines_of(e.output)) {
        const Program p = program_of(line.at("program"));
        std::set<std::string> groups;
        for (const Difference& d : differences_of(line.at("differences")))
          if (groups.insert(group_of(d.way)).second) handle({p, d});
      }
      const int64_t last = board_.program;
      counts_.programs += last - at + 1;
      if (e.failed()) handle_crash(batch, last, e.failure);
      at = last + 1;
    }
    if (judge_) judge_batch(batch.count);
  }

  void run_one(const Batch& batch, int64_t i, const Write& write) {
    board_.begin(i);
    board_.announce("drawing");
    // Small tensors need no second thread; now and then it is there all the same.
    set_num_threads(i % 8 == 0 ? 2 : 1);
    const Program p = batch.make(i, {});
    WayOptions ways{options_.only, folder_of(i), judge_ != nullptr, 3};
    std::filesystem::create_directories(ways.folder);
    const auto found = run_ways(p, ways, [&](const std::string& w) { board_.announce(w); });
    if (!found.empty()) write(line_of({{"program", to_json(p)}, {"differences", json_of(found)}}));
  }

  void judge_batch(int64_t count) {
    for (int64_t i = 0; i < count; ++i) {
      const Judge::Verdict verdict = judge_->judge(folder_of(i));
      for (const Difference& d : verdict.differences) {
        if (!options_.only.empty() && !options_.only.count(d.way)) continue;
        const Json j = Json::parse(std::ifstream(folder_of(i) + "/program.json"));
        handle({program_of(j), d});
      }
      counts_.by_torch += verdict.torch_calls > 0;
      counts_.by_runtime += verdict.runtime_calls > 0;
      counts_.by_runtime_open += verdict.runtime_calls > 0 && verdict.runtime_open;
      counts_.runtime_calls += verdict.runtime_calls;
      std::filesystem::remove_all(folder_of(i));
    }
  }

  // --- Findings -----------------------------------------------------------------------------

  void handle_crash(const Batch& batch, int64_t i, const std::string& failure) {
    const size_t in = failure.find(" in ");
    Difference d{failure.substr(in + 4), failure.substr(0, std::min(failure.find(':'), in)), 0,
                 failure};
    const bool drawing = d.way == "drawing";
    // Once more, to know the program.
    const Ending e = in_child(board_, limits(), [&](const Write& write) {
      if (!drawing) return write(line_of(to_json(batch.make(i, {}))));
      const std::string path = folder_ + "/trial.json";
      batch.make(i, [&](const Program& p) { std::ofstream(path) << line_of(to_json(p)); });
    });
    std::string text = e.output;
    if (drawing) {
      std::ifstream file(folder_ + "/trial.json");
      text.assign(std::istreambuf_iterator<char>(file), {});
      d.way = "plain";
    }
    const std::vector<Json> lines = lines_of(text);
    if (!lines.empty()) return handle({program_of(lines.back()), d});
    report({Program(), d}, signature(Program(), d));
  }

  /// Whether the program still differs in that way.
  bool fails_like(const Program& p, const Difference& want, Difference* seen = nullptr) {
    Limits l = limits();
    l.seconds = std::min(l.seconds, 3.0);
    const bool judged =
        std::find(way_names().begin(), way_names().end(), want.way) == way_names().end();
    const std::string folder = folder_ + "/shrink";
    std::filesystem::remove_all(folder);  // what another program has left there is not this one's
    std::filesystem::create_directories(folder);
    const Ending e = in_child(board_, l, [&](const Write& write) {
      board_.begin(0);
      WayOptions ways{{want.way}, folder, judged, 8};
      const auto found = run_ways(p, ways, [&](const std::string& w) { board_.announce(w); });
      write(line_of(json_of(found)));
    });
    if (e.failed()) {
      if (seen) *seen = want;
      return want.kind == e.failure.substr(0, want.kind.size()) && e.failure.ends_with(want.way);
    }
    std::vector<Difference> list = differences_of(lines_of(e.output).at(0));
    if (judged) list = judge_->judge(folder).differences;
    for (const Difference& d : list)
      if (d.way == want.way && d.kind == want.kind &&
          (d.kind != "error" || words_of(d.what) == words_of(want.what))) {
        if (seen) *seen = d;
        return true;
      }
    return false;
  }

  Facts facts_of_program(const Program& p) {
    const Ending e = in_child(board_, limits(), [&](const Write& write) {
      board_.begin(0);
      write(line_of(to_json(facts_of(p))));
    });
    const std::vector<Json> lines = lines_of(e.output);
    return lines.empty() ? Facts() : facts_from(lines[0]);
  }

  void handle(Found found) {
    const std::string rough = signature(found.program, found.difference);
    if (!is_new(cat("rough ", rough))) {
      counts_.repeats += 1;
      return;
    }
    const bool alone = fails_like(found.program, found.difference);
    if (!alone && found.difference.kind == "hang") return;  // it was only slow
    if (!alone) found.difference.what += " (not when it runs alone)";
    if (options_.shrink_seconds > 0 && alone) {
      const auto begin = Clock::now();
      found.program =
          shrink(found.program, {[&](const Program& p) { return fails_like(p, found.difference); },
                                 [&](const Program& p) { return facts_of_program(p); },
                                 [&] { return since(begin) > options_.shrink_seconds; }});
      fails_like(found.program, found.difference, &found.difference);
    }
    report(found, signature(found.program, found.difference));
  }

  /// Whether no job has seen it before.
  bool is_new(const std::string& what) {
    if (!seen_.insert(what).second) return false;
    if (options_.out.empty()) return true;
    const std::string path = cat(options_.out, "/.seen_", int64_t(std::hash<std::string>{}(what)));
    const int file = open(path.c_str(), O_CREAT | O_EXCL | O_WRONLY, 0644);
    if (file >= 0) close(file);
    return file >= 0;
  }

  void report(const Found& f, const std::string& what) {
    if (!is_new(what)) {
      counts_.repeats += 1;
      return;
    }
    const int64_t number = ++counts_.kinds;
    const std::string text = cpp_text_in_child(f);
    const std::string head =
        cat("finding ", number, " after ", int64_t(counts_.programs), " programs, ",
            int64_t(since(begin_)), " s: ", what, "\n", f.difference.what.substr(0, 400), "\n");
    if (!options_.out.empty()) {
      std::string name = f.difference.way + "_" + f.difference.kind;
      for (const std::string& c : calls_of(f.program)) name += "_" + c;
      for (char& c : name)
        if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
      const std::string path = cat(options_.out, "/", number, "_", name.substr(0, 80));
      std::ofstream(path + ".cpp") << text;
      std::ofstream(path + ".json") << to_json(f.program).dump(1);
      std::ofstream(options_.out + "/log.txt", std::ios::app) << head << "\n";
    }
    const std::string all = cat(head, text, "\n");
    std::fwrite(all.data(), 1, all.size(), stdout);
    std::fflush(stdout);
  }

  std::string cpp_text_in_child(const Found& f) {
    const Ending e = in_child(board_, limits(), [&](const Write& write) {
      board_.begin(0);
      write(cpp_text(f.program, f.difference));
    });
    return e.output;
  }

  const HuntOptions& options_;
  int job_;
  Counts& counts_;
  Clock::time_point begin_;
  Board& board_;
  std::string folder_;
  std::set<std::string> seen_;
  std::unique_ptr<Judge> judge_;
};

}  // namespace

int64_t hunt(const HuntOptions& options) {
  void* memory =
      mmap(nullptr, sizeof(Counts), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) throw std::runtime_error("no shared memory");
  Counts& counts = *new (memory) Counts;
  if (!options.out.empty()) std::filesystem::create_directories(options.out);
  const auto begin = Clock::now();
  std::vector<pid_t> jobs;
  for (int job = 0; job < options.jobs; ++job) {
    std::fflush(nullptr);
    const pid_t child = fork();
    if (child == 0) {
      int code = 0;
      try {
        Hunter(options, job, counts, begin).run();
      } catch (const std::exception& e) {
        std::fprintf(stderr, "five_ways: %s\n", e.what());
        code = 1;
      }
      std::fflush(nullptr);
      _exit(code);
    }
    jobs.push_back(child);
  }
  bool broken = false;
  for (pid_t job : jobs) {
    int status = 0;
    waitpid(job, &status, 0);
    broken = broken || status != 0;
  }
  std::printf(
      "%lld programs in %.0f s; %lld judged by PyTorch, %lld by ONNX Runtime (%lld of them files "
      "with unknown lengths; %lld calls): %lld kinds of differences, %lld repeats\n",
      static_cast<long long>(counts.programs), since(begin),
      static_cast<long long>(counts.by_torch), static_cast<long long>(counts.by_runtime),
      static_cast<long long>(counts.by_runtime_open), static_cast<long long>(counts.runtime_calls),
      static_cast<long long>(counts.kinds), static_cast<long long>(counts.repeats));
  if (broken) throw std::runtime_error("a job has ended early");
  return counts.kinds;
}

int replay(const Program& p, const HuntOptions& options) {
  const std::string folder = cat("/tmp/five_ways_", int64_t(getpid()));
  std::filesystem::create_directories(folder);
  WayOptions ways{options.only, folder, !options.python.empty(), 100};
  std::vector<Difference> all = run_ways(p, ways, [](const std::string&) {});
  if (!options.python.empty())
    for (const Difference& d : Judge(options.python, options.judge).judge(folder).differences)
      all.push_back(d);
  for (const Difference& d : all)
    std::printf("%s, %s, call %d: %s\n", d.way.c_str(), d.kind.c_str(), d.call, d.what.c_str());
  std::filesystem::remove_all(folder);
  return int(all.size());
}

}  // namespace tandem::five_ways
