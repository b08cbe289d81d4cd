//! Paths and the methods they take. A router of axum with two things added: a path says in `Allow` what it takes when it is asked for
//! something else, and what was registered can be compared with what is described.

use super::{call::App, reply::Failure};
use crate::error::{Code, Error};
use axum::{
    Router,
    body::Body,
    extract::State,
    handler::Handler,
    response::IntoResponse,
    routing::{MethodFilter, MethodRouter},
};
use http::{HeaderValue, Request, Response, header};
use std::{future::ready, sync::Arc};

/// The handlers of one path.
pub(super) struct Methods {
    router: MethodRouter<Arc<App>>,
    names: Vec<&'static str>,
    /// Whether something is there for every other method.
    complete: bool,
}

macro_rules! methods {
    ($($(#[$doc:meta])* $method:ident $name:literal $filter:ident;)*) => {
        $(
            $(#[$doc])*
            pub(super) fn $method<H: Handler<T, Arc<App>>, T: 'static>(handler: H) -> Methods {
                Methods { router: MethodRouter::new(), names: Vec::new(), complete: false }.$method(handler)
            }
        )*
        impl Methods {
            $(
                $(#[$doc])*
                pub(super) fn $method<H: Handler<T, Arc<App>>, T: 'static>(self, handler: H) -> Methods {
                    self.on(MethodFilter::$filter, $name, handler)
                }
            )*
        }
    };
}

methods! {
    /// Takes `GET`, and `HEAD` with it.
    get "GET" GET;
    /// Takes `POST`.
    post "POST" POST;
}

impl Methods {
    fn on<H: Handler<T, Arc<App>>, T: 'static>(
        mut self,
        filter: MethodFilter,
        name: &'static str,
        handler: H,
    ) -> Methods {
        self.router = self.router.on(filter, handler);
        self.names.push(name);
        self
    }

    /// Takes `PUT`.
    pub(super) fn put<H: Handler<T, Arc<App>>, T: 'static>(self, handler: H) -> Methods {
        self.on(MethodFilter::PUT, "PUT", handler)
    }

    /// Takes `PATCH`.
    pub(super) fn patch<H: Handler<T, Arc<App>>, T: 'static>(self, handler: H) -> Methods {
        self.on(MethodFilter::PATCH, "PATCH", handler)
    }

    /// Takes `DELETE`.
    pub(super) fn delete<H: Handler<T, Arc<App>>, T: 'static>(self, handler: H) -> Methods {
        self.on(MethodFilter::DELETE, "DELETE", handler)
    }

    /// Takes `LIST`, which is of Vault's clients and which no router knows.
    /// The last of a path's methods.
    pub(super) fn list<H: Handler<T, Arc<App>>, T: 'static>(self, handler: H) -> Methods {
        let refusal = allow(self.names.iter().copied().chain(["LIST"]));
        self.otherwise(move |State(app): State<Arc<App>>, request: Request<Body>| {
            let (handler, refusal) = (handler.clone(), refusal.clone());
            async move {
                match request.method().as_str() {
                    "LIST" => handler.call(request, app).await,
                    _ => not_taken(refusal),
                }
            }
        })
    }

    /// Answers every other method.
    pub(super) fn otherwise<H: Handler<T, Arc<App>>, T: 'static>(mut self, handler: H) -> Methods {
        self.router = self.router.fallback(handler);
        self.complete = true;
        self
    }

    /// Refuses every other method.
    fn finished(self) -> MethodRouter<Arc<App>> {
        if self.complete {
            return self.router;
        }
        let refusal = allow(self.names.iter().copied());
        self.router.fallback(move || ready(not_taken(refusal.clone())))
    }
}

/// What stands in `Allow`: methods, with `HEAD` where `GET` is.
pub(super) fn allow(names: impl Iterator<Item = &'static str>) -> HeaderValue {
    let each = names.flat_map(|name| [Some(name), (name == "GET").then_some("HEAD")]);
    let text = each.flatten().collect::<Vec<_>>().join(", ");
    HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// The answer to a method that a path does not take.
pub(super) fn not_taken(allow: HeaderValue) -> Response<Body> {
    let error = Error::new(Code::MethodNotAllowed, "the path does not take this method");
    let mut response = Failure(error).into_response();
    response.headers_mut().insert(header::ALLOW, allow);
    response
}

/// All paths of the service, or some of them.
pub(super) struct Paths {
    router: Router<Arc<App>>,
    /// Path and methods, as they are to be described.
    #[cfg(test)]
    pub(super) taken: Vec<(String, Vec<&'static str>)>,
}

impl Paths {
    pub(super) fn new() -> Paths {
        Paths {
            router: Router::new(),
            #[cfg(test)]
            taken: Vec::new(),
        }
    }

    /// A path.
    pub(super) fn route(mut self, path: &str, methods: Methods) -> Paths {
        #[cfg(test)]
        self.taken.push((path.replace("{*", "{"), methods.names.clone()));
        self.router = self.router.route(path, methods.finished());
        self
    }

    /// A path that stands for several, which are told apart further on; `taken` are those, and what each takes.
    pub(super) fn route_for(
        mut self,
        path: &str,
        methods: Methods,
        #[cfg_attr(not(test), expect(unused_variables, reason = "what is described is compared by a test"))]
        taken: &[(&str, &[&'static str])],
    ) -> Paths {
        #[cfg(test)]
        self.taken.extend(taken.iter().map(|(path, names)| ((*path).to_owned(), names.to_vec())));
        self.router = self.router.route(path, methods.finished());
        self
    }

    /// The paths of both.
    pub(super) fn merge(mut self, other: Paths) -> Paths {
        #[cfg(test)]
        self.taken.extend(other.taken);
        self.router = self.router.merge(other.router);
        self
    }

    /// The router, for one application; `fallback` answers everywhere else.
    pub(super) fn router<H: Handler<T, Arc<App>>, T: 'static>(self, fallback: H, app: Arc<App>) -> Router {
        self.router.fallback(fallback).with_state(app)
    }
}
