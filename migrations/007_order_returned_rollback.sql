-- Rollback: 007_order_returned
-- Description: Makes the type anew, because PostgreSQL cannot remove a value from an enum
-- Author: Mira Olsen
-- Date: 2025-04-01

-- An order that did come back stops this at the cast below, and nothing has changed then.

-- The view and the default hold on to the old type.
DROP VIEW shop.open_orders;
ALTER TABLE shop.orders ALTER COLUMN state DROP DEFAULT;

ALTER TYPE shop.order_state RENAME TO order_state_old;
CREATE TYPE shop.order_state AS ENUM ('cart', 'placed', 'paid', 'shipped');
ALTER TABLE shop.orders ALTER COLUMN state TYPE shop.order_state USING state::text::shop.order_state;
DROP TYPE shop.order_state_old;

ALTER TABLE shop.orders ALTER COLUMN state SET DEFAULT 'cart';
CREATE VIEW shop.open_orders AS
SELECT o.id,
       o.customer_id,
       o.state,
       o.total_cents,
       NOT EXISTS (SELECT FROM shop.order_lines AS l
                     LEFT JOIN shop.stock AS s USING (product_id)
                    WHERE l.order_id = o.id AND l.quantity > coalesce(s.pieces, 0)) AS deliverable
  FROM shop.orders AS o
 WHERE o.state IN ('placed', 'paid');

COMMENT ON VIEW shop.open_orders IS 'Orders that wait for us';
