//! One statement by whichever connection of the pool is free. What is executed writes; what is fetched only reads, but on a
//! server.

use futures::{
    FutureExt as _, StreamExt as _, TryStreamExt as _, future::BoxFuture, stream, stream::BoxStream,
};
use sqlx::{
    Any, Either, Error, Execute, Executor, SqlStr,
    any::{AnyQueryResult, AnyRow, AnyStatement, AnyTypeInfo},
};

use super::Pool;

impl<'p> Executor<'p> for &'p Pool {
    type Database = Any;

    fn execute<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<AnyQueryResult, Error>>
    where
        'p: 'e,
        E: 'q + Execute<'q, Any>,
    {
        let execute = async move {
            let mut lent = self.writing().await?;
            let result = (&mut *lent).execute(query).await;
            self.settle(lent, result)
        };
        execute.boxed()
    }

    fn fetch_many<'e, 'q: 'e, E>(
        self,
        query: E,
    ) -> BoxStream<'e, Result<Either<AnyQueryResult, AnyRow>, Error>>
    where
        'p: 'e,
        E: 'q + Execute<'q, Any>,
    {
        let fetch = async move {
            let mut lent = self.reading().await?;
            let result = (&mut *lent).fetch_many(query).try_collect::<Vec<_>>().await;
            let all = self.settle(lent, result)?;
            Ok::<_, Error>(stream::iter(all).map(Ok))
        };
        stream::once(fetch).try_flatten().boxed()
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<AnyRow>, Error>>
    where
        'p: 'e,
        E: 'q + Execute<'q, Any>,
    {
        let fetch = async move {
            let mut lent = self.reading().await?;
            let result = (&mut *lent).fetch_optional(query).await;
            self.settle(lent, result)
        };
        fetch.boxed()
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [AnyTypeInfo],
    ) -> BoxFuture<'e, Result<AnyStatement, Error>>
    where
        'p: 'e,
    {
        let prepare = async move {
            let mut lent = self.reading().await?;
            let result = (&mut *lent).prepare_with(sql, parameters).await;
            self.settle(lent, result)
        };
        prepare.boxed()
    }
}
