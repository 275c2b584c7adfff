//! One way to talk to the API: clients, kubeconfig, shared informers, work queues, events.
