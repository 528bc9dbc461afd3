//! Several apps in one node: the namespace of a socket decides which one handles it.

use std::rc::Rc;

use super::gate::{ConnectGate, Decision, GateOutcome, GateRequest};
use super::{App, AppFactory, CommandSender, EngineApp, SocketContext, SocketHandler};
use crate::config::Pattern;
use crate::model::{CommandObserver, NodeId, ServerSideEventHandler, SocketEvent};

/// The app of the namespaces that match a pattern.
struct Route<A> {
    namespaces: Pattern,
    app: A,
}

/// Opens each socket in the app of the first route that matches its namespace, or else in the default app.
pub struct Router {
    routes: Vec<Route<Rc<dyn App>>>,
    default: Rc<dyn App>,
    /// Headers that any of the apps reads; `None` if none of them reads the handshake.
    handshake_headers: Option<Vec<&'static str>>,
}

impl Router {
    /// A router over `routes`, in order, and the app for all other namespaces.
    pub fn new(
        routes: impl IntoIterator<Item = (Pattern, Rc<dyn App>)>,
        default: Rc<dyn App>,
    ) -> Self {
        let routes: Vec<_> = routes
            .into_iter()
            .map(|(namespaces, app)| Route { namespaces, app })
            .collect();
        let apps = routes.iter().map(|route| &route.app).chain([&default]);
        let read: Vec<_> = apps.filter_map(|app| app.handshake_headers()).collect();
        let handshake_headers = (!read.is_empty()).then(|| union(read));
        Self {
            routes,
            default,
            handshake_headers,
        }
    }

    fn apps(&self) -> impl Iterator<Item = &Rc<dyn App>> {
        self.routes
            .iter()
            .map(|route| &route.app)
            .chain([&self.default])
    }

    fn app(&self, namespace: &str) -> &Rc<dyn App> {
        choose(&self.routes, &self.default, namespace)
    }
}

/// The app of the first route that matches a namespace, or else the default one.
fn choose<'a, A>(routes: &'a [Route<A>], default: &'a A, namespace: &str) -> &'a A {
    let mut routes = routes.iter();
    let route = routes.find(|route| route.namespaces.matches(namespace));
    route.map_or(default, |route| &route.app)
}

/// Each of the names once.
fn union<'a>(names: impl IntoIterator<Item = &'a [&'static str]>) -> Vec<&'static str> {
    let mut all: Vec<_> = names.into_iter().flatten().copied().collect();
    all.sort_unstable();
    all.dedup();
    all
}

impl App for Router {
    fn open(self: Rc<Self>, context: &SocketContext<'_>) -> Rc<dyn SocketHandler> {
        Rc::clone(self.app(context.namespace.as_str())).open(context)
    }

    fn handshake_headers(&self) -> Option<&[&'static str]> {
        self.handshake_headers.as_deref()
    }

    fn gate(self: Rc<Self>) -> Option<Box<dyn ConnectGate>> {
        let routes = self.routes.iter().map(|route| Route {
            namespaces: route.namespaces.clone(),
            app: Rc::clone(&route.app).gate(),
        });
        let gate = RoutedGates::new(routes.collect(), Rc::clone(&self.default).gate());
        gate.map(|gate| Box::new(gate) as _)
    }

    fn identifies(&self) -> bool {
        self.apps().any(|app| app.identifies())
    }

    fn follows_sockets(&self) -> bool {
        self.apps().any(|app| app.follows_sockets())
    }

    fn on_socket_event(&self, event: &SocketEvent) {
        self.apps().for_each(|app| app.on_socket_event(event));
    }
}

/// The gates of the apps, each for the namespaces of its app.
struct RoutedGates {
    routes: Vec<Route<Option<Box<dyn ConnectGate>>>>,
    default: Option<Box<dyn ConnectGate>>,
    headers: Vec<&'static str>,
}

impl RoutedGates {
    /// `None` if no app has a gate.
    fn new(
        routes: Vec<Route<Option<Box<dyn ConnectGate>>>>,
        default: Option<Box<dyn ConnectGate>>,
    ) -> Option<Self> {
        let mut gates = Self {
            routes,
            default,
            headers: Vec::new(),
        };
        gates.all().next()?;
        gates.headers = union(gates.all().map(|gate| gate.headers()));
        Some(gates)
    }

    fn all(&self) -> impl Iterator<Item = &dyn ConnectGate> {
        let routes = self.routes.iter().map(|route| &route.app);
        routes.chain([&self.default]).flatten().map(|gate| &**gate)
    }

    fn gate(&self, request: &GateRequest<'_>) -> Option<&dyn ConnectGate> {
        let namespace = request.namespace.as_str();
        choose(&self.routes, &self.default, namespace).as_deref()
    }
}

impl ConnectGate for RoutedGates {
    fn headers(&self) -> &[&'static str] {
        &self.headers
    }

    fn reads_query(&self) -> bool {
        self.all().any(|gate| gate.reads_query())
    }

    fn reads_cookies(&self) -> bool {
        self.all().any(|gate| gate.reads_cookies())
    }

    fn on_connect(&self, request: &GateRequest<'_>) -> GateOutcome {
        let gate = self.gate(request);
        gate.map_or(GateOutcome::Now(Decision::Pass), |gate| {
            gate.on_connect(request)
        })
    }

    fn refreshes(&self) -> bool {
        self.all().any(|gate| gate.refreshes())
    }

    fn refresh(&self, request: &GateRequest<'_>) -> GateOutcome {
        let gate = self.gate(request).filter(|gate| gate.refreshes());
        gate.map_or(GateOutcome::Now(Decision::Pass), |gate| {
            gate.refresh(request)
        })
    }
}

/// The factories of a node with routes.
pub struct RouterFactory {
    routes: Vec<Route<Box<dyn AppFactory>>>,
    default: Box<dyn AppFactory>,
}

impl RouterFactory {
    /// As [`Router::new`].
    pub fn new(
        routes: impl IntoIterator<Item = (Pattern, Box<dyn AppFactory>)>,
        default: Box<dyn AppFactory>,
    ) -> Self {
        let routes = routes
            .into_iter()
            .map(|(namespaces, app)| Route { namespaces, app });
        Self {
            routes: routes.collect(),
            default,
        }
    }

    fn factories(&self) -> impl Iterator<Item = &dyn AppFactory> {
        let routes = self.routes.iter().map(|route| &*route.app);
        routes.chain([&*self.default])
    }
}

impl AppFactory for RouterFactory {
    fn build(&self, commands: CommandSender) -> Rc<dyn App> {
        let routes = self
            .routes
            .iter()
            .map(|route| (route.namespaces.clone(), route.app.build(commands.clone())));
        Rc::new(Router::new(routes, self.default.build(commands.clone())))
    }

    fn engine_app(&self) -> Option<Rc<dyn EngineApp>> {
        self.default.engine_app()
    }

    fn is_settled(&self) -> bool {
        self.factories().all(|factory| factory.is_settled())
    }

    fn command_observers(&self) -> Vec<CommandObserver> {
        let observers = self
            .factories()
            .flat_map(|factory| factory.command_observers());
        observers.collect()
    }

    fn server_events(&self, node: NodeId) -> Option<ServerSideEventHandler> {
        self.factories()
            .find_map(|factory| factory.server_events(node))
    }

    fn has_upstreams(&self) -> bool {
        self.factories().any(|factory| factory.has_upstreams())
    }

    fn identifies(&self) -> bool {
        self.factories().any(|factory| factory.identifies())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An app that reads these headers.
    struct Reads(Option<&'static [&'static str]>);

    impl App for Reads {
        fn open(self: Rc<Self>, _context: &SocketContext<'_>) -> Rc<dyn SocketHandler> {
            unreachable!("no socket is opened")
        }

        fn handshake_headers(&self) -> Option<&[&'static str]> {
            self.0
        }
    }

    fn router(routes: &[(&str, &'static [&'static str])]) -> Router {
        let routes = routes.iter().map(|(pattern, headers)| {
            let app: Rc<dyn App> = Rc::new(Reads(Some(headers)));
            (Pattern::from(*pattern), app)
        });
        Router::new(routes, Rc::new(Reads(None)))
    }

    #[test]
    fn the_first_matching_route_counts_and_other_namespaces_take_the_default() {
        let router = router(&[
            ("/chat", &["a"]),
            ("/legacy-*", &["b"]),
            ("/legacy-1", &["c"]),
        ]);
        let chosen = |namespace| {
            router
                .app(namespace)
                .handshake_headers()
                .map(|headers| headers[0])
        };
        assert_eq!(chosen("/chat"), Some("a"));
        assert_eq!(chosen("/legacy-1"), Some("b"));
        assert_eq!(chosen("/"), None);
        assert_eq!(chosen("/chat/more"), None);
    }

    #[test]
    fn the_handshake_is_kept_for_the_headers_of_all_apps_and_only_if_one_reads_it() {
        assert_eq!(router(&[]).handshake_headers(), None);
        let router = router(&[("/a", &["cookie", "x-user"]), ("/b", &["cookie"])]);
        assert_eq!(
            router.handshake_headers(),
            Some(["cookie", "x-user"].as_slice())
        );
    }
}
