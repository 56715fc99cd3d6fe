#ifdef TROUPE_BENCH_UCX

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <ucp/api/ucp.h>

#include <atomic>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <future>
#include <mutex>
#include <stdexcept>
#include <thread>

#include "runtime/tensor/device.hpp"
#include "tests/bench/transport/contestant.hpp"

namespace troupe::bench {

namespace {

constexpr unsigned control_id = 1, bulk_id = 2;
constexpr std::size_t in_flight_max = 16;

void require(ucs_status_t status, const char* what) {
  if (status != UCS_OK)
    throw std::runtime_error(std::string(what) + ": " + ucs_status_string(status));
}

/// Active messages with peer-failure handling. A worker belongs to one thread, which sleeps while nothing happens.
class ucx_contestant final : public contestant {
 public:
  ucx_contestant() {
    ::setenv("UCX_TLS", "tcp", 0);
    ucp_params_t params{};
    params.field_mask = UCP_PARAM_FIELD_FEATURES;
    params.features = UCP_FEATURE_AM | UCP_FEATURE_WAKEUP;
    ucp_config_t* config = nullptr;
    require(ucp_config_read(nullptr, nullptr, &config), "configuration");
    require(ucp_init(&params, config, &context_), "context");
    ucp_config_release(config);
    ucp_worker_params_t how{};
    how.field_mask = UCP_WORKER_PARAM_FIELD_THREAD_MODE;
    how.thread_mode = UCS_THREAD_MODE_SERIALIZED;
    require(ucp_worker_create(context_, &how, &worker_), "worker");
    handle(control_id, [](void* self, const void* header, std::size_t, void*, std::size_t,
                          const ucp_am_recv_param_t*) {
      control message;
      std::memcpy(&message, header, sizeof(message));
      static_cast<ucx_contestant*>(self)->on_control(message);
      return UCS_OK;
    });
    handle(bulk_id, [](void* self, const void*, std::size_t, void* data, std::size_t size,
                       const ucp_am_recv_param_t* how) {
      return static_cast<ucx_contestant*>(self)->receive_bulk(data, size, *how);
    });
  }

  ~ucx_contestant() override {
    stop_ = true;
    ucp_worker_signal(worker_);
    if (thread_.joinable())
      thread_.join();
    if (endpoint_ != nullptr) {
      ucp_request_param_t params{};
      params.op_attr_mask = UCP_OP_ATTR_FIELD_FLAGS;
      params.flags = UCP_EP_CLOSE_FLAG_FORCE;
      void* const request = ucp_ep_close_nbx(endpoint_, &params);
      if (UCS_PTR_IS_PTR(request)) {
        while (ucp_request_check_status(request) == UCS_INPROGRESS)
          ucp_worker_progress(worker_);
        ucp_request_free(request);
      }
    }
    if (listener_ != nullptr)
      ucp_listener_destroy(listener_);
    ucp_worker_destroy(worker_);
    ucp_cleanup(context_);
  }

  std::string listen() override {
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ucp_listener_params_t params{};
    params.field_mask = UCP_LISTENER_PARAM_FIELD_SOCK_ADDR | UCP_LISTENER_PARAM_FIELD_CONN_HANDLER;
    params.sockaddr = {reinterpret_cast<const sockaddr*>(&at), sizeof(at)};
    params.conn_handler = {[](ucp_conn_request_h request, void* self) {
                             ucp_ep_params_t how{};
                             how.field_mask = UCP_EP_PARAM_FIELD_CONN_REQUEST;
                             how.conn_request = request;
                             static_cast<ucx_contestant*>(self)->make_endpoint(how);
                           },
                           this};
    require(ucp_listener_create(worker_, &params, &listener_), "listener");
    ucp_listener_attr_t attributes{};
    attributes.field_mask = UCP_LISTENER_ATTR_FIELD_SOCKADDR;
    require(ucp_listener_query(listener_, &attributes), "listener");
    start();
    return std::to_string(ntohs(reinterpret_cast<const sockaddr_in&>(attributes.sockaddr).sin_port));
  }

  void connect(const std::string& where) override {
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(static_cast<std::uint16_t>(std::stoi(where)));
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ucp_ep_params_t how{};
    how.field_mask = UCP_EP_PARAM_FIELD_FLAGS | UCP_EP_PARAM_FIELD_SOCK_ADDR;
    how.flags = UCP_EP_PARAMS_FLAGS_CLIENT_SERVER;
    how.sockaddr = {reinterpret_cast<const sockaddr*>(&to), sizeof(to)};
    make_endpoint(how);
    start();
  }

  void send(control message) override {
    if (std::this_thread::get_id() == thread_.get_id())
      return post({control_id, message, {}});
    enqueue({control_id, message, {}});
  }

  void send_bulk() override {
    {
      std::unique_lock held(mutex_);
      room_.wait(held, [&] { return in_flight_ < in_flight_max; });
      ++in_flight_;
    }
    enqueue({bulk_id, {}, sources_[next_++ % sources_.size()]});
  }

 private:
  struct job {
    unsigned id;
    control header;
    tensor elements;
  };

  void handle(unsigned id, ucp_am_recv_callback_t callback) {
    ucp_am_handler_param_t params{};
    params.field_mask = UCP_AM_HANDLER_PARAM_FIELD_ID | UCP_AM_HANDLER_PARAM_FIELD_CB | UCP_AM_HANDLER_PARAM_FIELD_ARG;
    params.id = id;
    params.cb = callback;
    params.arg = this;
    require(ucp_worker_set_am_recv_handler(worker_, &params), "handler");
  }

  void make_endpoint(ucp_ep_params_t how) {
    how.field_mask |= UCP_EP_PARAM_FIELD_ERR_HANDLING_MODE | UCP_EP_PARAM_FIELD_ERR_HANDLER;
    how.err_mode = UCP_ERR_HANDLING_MODE_PEER;
    how.err_handler = {[](void*, ucp_ep_h, ucs_status_t) {}, this};
    require(ucp_ep_create(worker_, &how, &endpoint_), "endpoint");
  }

  void start() {
    thread_ = std::thread([this] { run(); });
  }

  void run() {
    while (!stop_) {
      std::deque<job> now;
      {
        const std::lock_guard held(mutex_);
        if (endpoint_ != nullptr)
          now.swap(jobs_);
      }
      for (auto& each : now)
        post(std::move(each));
      while (ucp_worker_progress(worker_) != 0) {
      }
      bool idle = false;
      {
        const std::lock_guard held(mutex_);
        idle = jobs_.empty() || endpoint_ == nullptr;
      }
      if (idle && ucp_worker_arm(worker_) == UCS_OK && !stop_)
        ucp_worker_wait(worker_);
    }
  }

  void enqueue(job what) {
    {
      const std::lock_guard held(mutex_);
      jobs_.push_back(std::move(what));
    }
    ucp_worker_signal(worker_);
  }

  void post(job what) {
    // Headers and handles live until the message has gone.
    auto* const sent = new std::pair<ucx_contestant*, job>(this, std::move(what));
    ucp_request_param_t params{};
    params.op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA;
    params.user_data = sent;
    params.cb.send = [](void* request, ucs_status_t, void* data) {
      done(data);
      ucp_request_free(request);
    };
    const auto& elements = sent->second.elements;
    const auto status = ucp_am_send_nbx(endpoint_, sent->second.id, &sent->second.header, sizeof(control),
                                        elements ? elements.bytes() : nullptr, elements ? bulk_bytes : 0, &params);
    if (status == nullptr)
      done(sent);
    else if (UCS_PTR_IS_ERR(status))
      std::abort();
  }

  static void done(void* data) {
    const std::unique_ptr<std::pair<ucx_contestant*, job>> sent(static_cast<std::pair<ucx_contestant*, job>*>(data));
    if (sent->second.id != bulk_id)
      return;
    const std::lock_guard held(sent->first->mutex_);
    --sent->first->in_flight_;
    sent->first->room_.notify_one();
  }

  ucs_status_t receive_bulk(void* data, std::size_t size, const ucp_am_recv_param_t& how) {
    auto into = cpu_device().allocate(dtype::uint8, {static_cast<std::int64_t>(size)});
    if ((how.recv_attr & UCP_AM_RECV_ATTR_FLAG_RNDV) == 0) {
      std::memcpy(into.mutable_bytes(), data, size);
      on_bulk();
      return UCS_OK;
    }
    auto* const received = new std::pair<ucx_contestant*, tensor>(this, into);
    ucp_request_param_t params{};
    params.op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA;
    params.user_data = received;
    params.cb.recv_am = [](void* request, ucs_status_t, std::size_t, void* user) {
      using landed = std::pair<ucx_contestant*, tensor>;
      const std::unique_ptr<landed> it(static_cast<landed*>(user));
      it->first->on_bulk();
      ucp_request_free(request);
    };
    const auto status = ucp_am_recv_data_nbx(worker_, data, into.mutable_bytes(), size, &params);
    if (status == nullptr) {
      delete received;
      on_bulk();
    } else if (UCS_PTR_IS_ERR(status)) {
      std::abort();
    }
    return UCS_OK;
  }

  const std::vector<tensor> sources_ = make_sources();
  std::size_t next_ = 0;
  ucp_context_h context_ = nullptr;
  ucp_worker_h worker_ = nullptr;
  ucp_listener_h listener_ = nullptr;
  ucp_ep_h endpoint_ = nullptr;
  std::atomic<bool> stop_ = false;
  std::mutex mutex_;
  std::condition_variable room_;
  std::deque<job> jobs_;
  std::size_t in_flight_ = 0;
  std::thread thread_;
};

}  // namespace

std::unique_ptr<contestant> make_ucx() { return std::make_unique<ucx_contestant>(); }

}  // namespace troupe::bench

#endif
