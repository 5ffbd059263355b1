#include "tests/five_ways/judge.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "tandem/io/safetensors.h"

namespace tandem::five_ways {

void write_for_judge(const Program& p, const Given& given, const std::string& folder) {
  Json j = to_json(p);
  NamedTensors data;
  auto keep = [&](const std::string& name, const Tensor& t) {
    if (t.defined()) data.emplace_back(name, detail::as_contiguous(t.detach()));
  };
  for (const auto& [name, t] : given.state) keep("state." + name, t);
  for (const auto& [name, t] : given.trained_end) keep("trained." + name, t);
  for (size_t c = 0; c < p.calls.size(); ++c) {
    size_t i = 0;
    const std::vector<Tensor> fed = fed_inputs(p, int(c));
    Json layouts = Json::object();
    for (const Input& in : p.inputs) {
      if (in.role != Input::fed) continue;
      keep(cat(c, ".in.v", in.id), fed[i]);
      if (!fed[i].is_contiguous()) layouts[cat("v", in.id)] = testing::shape_json(fed[i].strides());
      ++i;
    }
    Json outcome = Json::object();
    const Result& r = given.plain[c];
    auto note = [&](const char* part, const Outcome& o) {
      Json names = Json::array();
      for (const auto& [name, t] : o.values) {
        names.push_back(name);
        keep(cat(c, ".", part, ".", name), t);
      }
      outcome[part] = {{"ran", o.ran}, {"error", o.error}, {"names", names}};
    };
    note("forward", r.forward);
    note("gradient", r.gradient);
    if (!given.trained.empty()) note("training", given.trained[c].forward);
    outcome["strides"] = layouts;
    j["outcomes"].push_back(outcome);
  }
  save_safetensors(folder + "/data.safetensors", data);
  // Who is killed while writing leaves no half of a program.
  const std::string path = folder + "/program.json";
  std::ofstream(path + ".part") << j.dump(-1, ' ', false, Json::error_handler_t::replace);
  std::filesystem::rename(path + ".part", path);
}

Judge::Judge(const std::string& python, const std::string& script)
    : python_(python), script_(script) {
  signal(SIGPIPE, SIG_IGN);  // a judge that has died is noticed by its silence
  start();
}

Judge::~Judge() { stop(); }

void Judge::start() {
  int in[2], out[2];
  if (pipe(in) != 0 || pipe(out) != 0) throw std::runtime_error("no pipe for the judge");
  child_ = fork();
  if (child_ < 0) throw std::runtime_error("no process for the judge");
  if (child_ == 0) {
    dup2(in[0], 0);
    dup2(out[1], 1);
    for (int fd : {in[0], in[1], out[0], out[1]}) close(fd);
    execl(python_.c_str(), python_.c_str(), script_.c_str(), nullptr);
    _exit(127);
  }
  close(in[0]);
  close(out[1]);
  to_ = fdopen(in[1], "w");
  from_ = fdopen(out[0], "r");
}

void Judge::stop() {
  if (child_ < 0) return;
  std::fclose(to_);
  std::fclose(from_);
  kill(child_, SIGTERM);
  waitpid(child_, nullptr, 0);
  child_ = -1;
}

Judge::Verdict Judge::ended() {
  stop();
  start();
  return {{{"onnxruntime", "crash", 0, "the judge ends"}}};
}

Judge::Verdict Judge::judge(const std::string& folder) {
  if (!std::filesystem::exists(folder + "/program.json")) return {};
  std::fprintf(to_, "%s\n", folder.c_str());
  std::fflush(to_);
  std::string answer;
  for (int c = std::fgetc(from_); c != '\n'; c = std::fgetc(from_)) {
    if (c == EOF) return ended();
    answer += char(c);
  }
  const Json j = Json::parse(answer);
  Verdict v{{}, j.at("torch_calls"), j.at("runtime_calls"), j.at("runtime_open")};
  for (const Json& d : j.at("differences"))
    v.differences.push_back({d.at("way"), d.at("kind"), d.at("call"), d.at("what")});
  return v;
}

}  // namespace tandem::five_ways
